use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

use super::windows::padded;
use super::{STD, SwinConfig, WindowAttention, Windows};
use crate::transformer::{DropPath, FeedForward, Gelu, by_rows, normal_linear};

/// Makes a token of each patch of an image: a convolution whose stride is its kernel, and a norm.
///
/// Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct SwinPatchEmbedding<B: Backend> {
    /// The linear map of a patch, as a convolution.
    pub projection: MacConv2d<B>,
    /// The norm of each token.
    pub norm: LayerNorm<B>,
}

impl<B: Backend> SwinPatchEmbedding<B> {
    pub(super) fn new(config: &SwinConfig, d_model: usize, device: &B::Device) -> Self {
        let projection = Conv2dConfig::new([config.image_channels, d_model], config.patch_size)
            .with_stride(config.patch_size)
            .init(device);
        Self {
            projection: projection.into(),
            norm: config.norm(d_model).init(device),
        }
    }

    /// The map of tokens.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, image_height, image_width]`
    /// - output: `[batch_size, height, width, d_model]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration, or hold no patch.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, height, width] = images.dims();
        let patch = self.projection.kernel_size;
        assert!(
            height >= patch[0] && width >= patch[1],
            "an image must hold a patch, but their sizes are {:?} and {patch:?}",
            [height, width]
        );
        let map = self.projection.forward(images);
        self.norm.forward(map.permute([0, 2, 3, 1]))
    }
}

/// A stage: patches are merged, but in the first one, and blocks follow that keep the size of the map.
///
/// Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct SwinStage<B: Backend> {
    /// Makes the map of the stage before coarser; the first stage has none.
    pub merging: Option<PatchMerging<B>>,
    /// The blocks, from the input to the output.
    pub blocks: Vec<SwinBlock<B>>,
}

impl<B: Backend> SwinStage<B> {
    pub(super) fn new(config: &SwinConfig, index: usize, device: &B::Device) -> Self {
        let stage = &config.stages[index];
        let before = index.checked_sub(1).map(|before| &config.stages[before]);
        Self {
            merging: before
                .map(|before| PatchMerging::new(config, [before.d_model, stage.d_model], device)),
            blocks: (0..stage.n_layers)
                .map(|block| SwinBlock::new(config, [index, block], device))
                .collect(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - map: `[batch_size, height, width, d_input]`
    /// - output: `[batch_size, height, width, d_model]`, with half the height and width where patches are merged
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let map = match &self.merging {
            Some(merging) => merging.forward(map),
            None => map,
        };
        self.blocks
            .iter()
            .fold(map, |map, block| block.forward(map))
    }
}

/// Makes one token of each 2×2, and so a map of half the height and width: a norm and a linear layer over the four, next
/// to each other.
///
/// A map of odd height or width is filled up with zeros. Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct PatchMerging<B: Backend> {
    /// The norm of the four tokens.
    pub norm: LayerNorm<B>,
    /// The linear layer to the size of the next tokens, without a bias.
    pub reduction: MacLinear<B>,
}

impl<B: Backend> PatchMerging<B> {
    /// `d_model` are the sizes of the tokens that go in and of those that come out.
    pub(super) fn new(config: &SwinConfig, d_model: [usize; 2], device: &B::Device) -> Self {
        let [size_input, size_output] = d_model;
        Self {
            norm: config.norm(4 * size_input).init(device),
            reduction: normal_linear([4 * size_input, size_output], false, STD, device).into(),
        }
    }

    /// Applies the forward pass. Of four tokens the left two come first, in each pair the upper one.
    ///
    /// # Shapes
    /// - map: `[batch_size, height, width, d_input]`
    /// - output: `[batch_size, ⌈height / 2⌉, ⌈width / 2⌉, d_output]`
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let map = padded(map, [2, 2]);
        let [batch_size, height, width, d_model] = map.dims();
        let (rows, columns) = (height / 2, width / 2);
        let four = map
            .reshape([batch_size, rows, 2, columns, 2, d_model])
            .permute([0, 1, 3, 4, 2, 5])
            .reshape([batch_size, rows, columns, 4 * d_model]);
        by_rows(four, |four| self.reduction.forward(self.norm.forward(four)))
    }
}

/// A block: attention within windows and a feed-forward layer, each with a norm before it and the input added after it.
///
/// Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct SwinBlock<B: Backend> {
    /// The norm before the attention.
    pub norm1: LayerNorm<B>,
    /// The attention within windows.
    pub window_attention: WindowAttention<B>,
    /// The norm before the feed-forward layer.
    pub norm2: LayerNorm<B>,
    /// The feed-forward layer.
    pub mlp: FeedForward<B>,
    /// Drops outputs of both branches.
    pub dropout: Dropout,
    /// Drops both branches of a sample as a whole.
    pub drop_path: DropPath,
}

impl<B: Backend> SwinBlock<B> {
    /// `index` is that of the stage and that of the block in it.
    pub(super) fn new(config: &SwinConfig, index: [usize; 2], device: &B::Device) -> Self {
        let [stage, block] = index;
        let d_model = config.stages[stage].d_model;
        let hidden = (d_model as f64 * config.stages[stage].mlp_ratio) as usize;
        let dropout = DropoutConfig::new(config.dropout).init();
        Self {
            norm1: config.norm(d_model).init(device),
            window_attention: WindowAttention::new(config, stage, windows(config, index), device),
            norm2: config.norm(d_model).init(device),
            mlp: FeedForward {
                fc1: normal_linear([d_model, hidden], true, STD, device).into(),
                gelu: Gelu::default(),
                dropout: dropout.clone(),
                fc2: normal_linear([hidden, d_model], true, STD, device).into(),
            },
            dropout,
            drop_path: DropPath::new(config.drop_path_of(stage, block)),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - map and output: `[batch_size, height, width, d_model]`
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let attended = self
            .window_attention
            .forward(self.norm1.forward(map.clone()));
        let map = map + self.branch(attended);
        let output = self.mlp.forward(self.norm2.forward(map.clone()));
        map + self.branch(output)
    }

    fn branch(&self, output: Tensor<B, 4>) -> Tensor<B, 4> {
        self.drop_path.forward(self.dropout.forward(output))
    }
}

/// The windows of a block: every second block shifts them.
fn windows(config: &SwinConfig, [stage, block]: [usize; 2]) -> Windows {
    let size = config.stages[stage].window_size;
    let windows = match block % 2 {
        0 => Windows::new(size),
        _ => Windows::shifted(size),
    };
    match config.always_partition {
        true => windows,
        false => windows.fitted(config.map_size(stage)),
    }
}
