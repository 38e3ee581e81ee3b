//! Swin Transformer: attention within windows of an image, which every second block shifts, and stages between which the
//! image gets coarser.
//!
//! Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
//! [arXiv:2103.14030](https://arxiv.org/abs/2103.14030). The parts are those of timm's `SwinTransformer`, from which the networks
//! of the MAC paper are made; there, patches are merged at the start of a stage and not at the end of the one before.
//!
//! A map that windows do not divide is filled up with zeros at the bottom and on the right. As in timm these take
//! part in the attention; they count in no mean that a recorder takes.

mod blocks;
mod window_attention;
mod windows;

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

pub use blocks::{PatchMerging, SwinBlock, SwinPatchEmbedding, SwinStage};
pub use window_attention::{RelativePositionBias, WindowAttention};
pub use windows::Windows;

use crate::limits::{assert_at_least_one, assert_rate};
use crate::pytorch::tensor_name;
use crate::transformer::normal_linear;

#[cfg(test)]
mod tests;

/// The standard deviation of linear weights and of the relative position biases. timm draws them from a normal
/// distribution that it truncates at ±2, which is a hundred of these: no draw of it is ever truncated.
const STD: f64 = 0.02;

/// The size of a head in all networks of the paper.
const HEAD: usize = 32;

/// Configuration of a [`Swin`].
///
/// The constructors are for images of 224×224, 1000 classes and windows of 7×7:
///
/// | | channels | blocks | parameters |
/// |---|---|---|---|
/// | [`tiny`](Self::tiny) | 96, 192, 384, 768 | 2, 2, 6, 2 | 28 288 354 |
/// | [`small`](Self::small) | 96, 192, 384, 768 | 2, 2, 18, 2 | 49 606 258 |
/// | [`base`](Self::base) | 128, 256, 512, 1024 | 2, 2, 18, 2 | 87 768 224 |
/// | [`large`](Self::large) | 192, 384, 768, 1536 | 2, 2, 18, 2 | 196 532 476 |
///
/// `SwinConfig::base().with_image_size([384, 384]).with_window_size([12, 12])`, the paper's network for larger images, has
/// 87 903 584.
///
/// Linear weights and relative position biases start normal with a standard deviation of 0.02, biases at 0, norms at 1,
/// and the patch embedding as any convolution of PyTorch and Burn.
#[derive(Config, Debug)]
pub struct SwinConfig {
    /// The stages, from the input to the output.
    pub stages: Vec<SwinStageConfig>,
    /// Height and width of the images that windows are chosen for: a window is never larger than its map. The network takes
    /// images of other sizes too.
    ///
    /// As in timm, windows are chosen for `⌊tokens / 2^stage⌋`, 1 at least, whereas a stage fills up an odd map before it
    /// halves it: of images of 112×112 the last stage of [`tiny`](Self::tiny) cuts a map of 4×4 into windows of 3×3.
    #[config(default = "[224, 224]")]
    pub image_size: [usize; 2],
    /// Channels of the images.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Height and width of the patches that become tokens. What is left of an image at the bottom and on the right is
    /// not seen.
    #[config(default = "[4, 4]")]
    pub patch_size: [usize; 2],
    /// Number of classes.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// Whether windows keep their size and shift where the map is smaller, or as large.
    #[config(default = false)]
    pub always_partition: bool,
    /// Whether the projection to queries, keys and values has a bias.
    #[config(default = true)]
    pub qkv_bias: bool,
    /// The ε of the layer norms, ten times DeiT's.
    #[config(default = 1e-5)]
    pub norm_epsilon: f64,
    /// The dropout rate of hidden values and outputs of the branches, in [0, 1).
    #[config(default = 0.0)]
    pub dropout: f64,
    /// The dropout rate of attention probabilities, in [0, 1).
    #[config(default = 0.0)]
    pub attention_dropout: f64,
    /// The dropout rate of what the head sees, in [0, 1).
    #[config(default = 0.0)]
    pub head_dropout: f64,
    /// The rate at which the last block's branches are dropped, in [0, 1); it grows linearly from 0 at the first block
    /// of the first stage. In Swin's paper it is 0.2, 0.3 and 0.5 for Swin-T, S and B, and 0, the default, in the recipe of
    /// the authors of MAC.
    #[config(default = 0.0)]
    pub drop_path: f64,
}

impl SwinConfig {
    /// Swin-T for images of 224×224 and 1000 classes.
    pub fn tiny() -> Self {
        Self::of_the_paper(96, [2, 2, 6, 2])
    }

    /// Swin-S for images of 224×224 and 1000 classes.
    pub fn small() -> Self {
        Self::of_the_paper(96, [2, 2, 18, 2])
    }

    /// Swin-B for images of 224×224 and 1000 classes.
    pub fn base() -> Self {
        Self::of_the_paper(128, [2, 2, 18, 2])
    }

    /// Swin-L for images of 224×224 and 1000 classes.
    pub fn large() -> Self {
        Self::of_the_paper(192, [2, 2, 18, 2])
    }

    /// Gives the windows of all stages the same height and width.
    pub fn with_window_size(mut self, size: [usize; 2]) -> Self {
        for stage in &mut self.stages {
            stage.window_size = size;
        }
        self
    }

    /// Initializes a new [`Swin`].
    ///
    /// # Panics
    /// If there is no stage, an image or a window holds nothing, the number of heads does not divide the size of a token, the
    /// size of a token or a number of channels or classes is 0, or a rate is out of its range.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Swin<B> {
        let [Some(first), Some(last)] = [self.stages.first(), self.stages.last()] else {
            panic!("a Swin Transformer has at least one stage");
        };
        self.check();
        Swin {
            patch_embedding: SwinPatchEmbedding::new(self, first.d_model, device),
            stages: (0..self.stages.len())
                .map(|index| SwinStage::new(self, index, device))
                .collect(),
            norm: self.norm(last.d_model).init(device),
            dropout: DropoutConfig::new(self.head_dropout).init(),
            head: normal_linear([last.d_model, self.num_classes], true, STD, device).into(),
        }
    }

    fn check(&self) {
        for (index, stage) in self.stages.iter().enumerate() {
            assert_at_least_one(&format!("stages[{index}].d_model"), stage.d_model);
        }
        assert_at_least_one("image_channels", self.image_channels);
        assert_at_least_one("num_classes", self.num_classes);
        assert_rate("dropout", self.dropout);
        assert_rate("attention_dropout", self.attention_dropout);
        assert_rate("head_dropout", self.head_dropout);
        assert_rate("drop_path", self.drop_path);
    }

    /// Twice the channels and heads from stage to stage.
    fn of_the_paper(d_model: usize, n_layers: [usize; 4]) -> Self {
        let stage = |index: usize| {
            let d_model = d_model << index;
            SwinStageConfig::new(d_model, n_layers[index], d_model / HEAD)
        };
        Self::new([0, 1, 2, 3].map(stage).into())
    }

    fn norm(&self, size: usize) -> LayerNormConfig {
        LayerNormConfig::new(size).with_epsilon(self.norm_epsilon)
    }

    /// Height and width of the map that the windows of a stage are chosen for, in tokens.
    fn map_size(&self, stage: usize) -> [usize; 2] {
        let tokens = [0, 1].map(|axis| {
            let tokens = self.image_size[axis].checked_div(self.patch_size[axis]);
            tokens.unwrap_or(0)
        });
        assert!(
            !tokens.contains(&0),
            "an image must hold a patch, but their sizes are {:?} and {:?}",
            self.image_size,
            self.patch_size
        );
        // Where timm rounds down to nothing, and fails, a token is left of the map that is filled up.
        tokens.map(|tokens| (tokens >> stage).max(1))
    }

    /// The rate at which a block's branches are dropped.
    fn drop_path_of(&self, stage: usize, block: usize) -> f64 {
        let blocks = |stages: &[SwinStageConfig]| -> usize {
            stages.iter().map(|stage| stage.n_layers).sum()
        };
        match blocks(&self.stages) {
            0 | 1 => 0.0,
            all => {
                self.drop_path * (blocks(&self.stages[..stage]) + block) as f64 / (all - 1) as f64
            }
        }
    }
}

/// Configuration of a [`SwinStage`]: the blocks between two changes of the map's size.
#[derive(Config, Debug)]
pub struct SwinStageConfig {
    /// Channels of the map, the size of a token.
    pub d_model: usize,
    /// The number of blocks. Every second one shifts its windows, by half of their size.
    pub n_layers: usize,
    /// The number of attention heads; it divides the channels, or the size of a head is given.
    pub n_heads: usize,
    /// The size of a head, `d_model / n_heads` unless given.
    #[config(default = "None")]
    pub d_head: Option<usize>,
    /// Height and width of a window, in tokens.
    #[config(default = "[7, 7]")]
    pub window_size: [usize; 2],
    /// The hidden size of the feed-forward layers, in multiples of the size of a token.
    #[config(default = 4.0)]
    pub mlp_ratio: f64,
}

/// The Swin Transformer: patches become a map of tokens, each stage after the first merges them to a coarser map, and the
/// mean of the last map gives the logits.
///
/// The layers are recorded; relative position biases and norms have no inputs that a mean could be taken of. Should be
/// created with [`SwinConfig`].
#[derive(Module, Debug)]
pub struct Swin<B: Backend> {
    /// Makes tokens of patches.
    pub patch_embedding: SwinPatchEmbedding<B>,
    /// The stages, from the input to the output.
    pub stages: Vec<SwinStage<B>>,
    /// The norm after the last stage.
    pub norm: LayerNorm<B>,
    /// Drops values of what the head sees.
    pub dropout: Dropout,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl<B: Backend> Swin<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`, of any size that holds a patch
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration, or hold no patch.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let map = self.patch_embedding.forward(images);
        let map = self
            .stages
            .iter()
            .fold(map, |map, stage| stage.forward(map));
        let [batch_size, height, width, d_model] = map.dims();
        let tokens = self
            .norm
            .forward(map)
            .reshape([batch_size, height * width, d_model]);
        let mean = tokens.mean_dim(1).reshape([batch_size, d_model]);
        self.head.forward(self.dropout.forward(mean))
    }

    /// The layer that sees the images, for an [`InputCovariance`](mac_burn::InputCovariance).
    pub fn first_layer(&self) -> &MacConv2d<B> {
        &self.patch_embedding.projection
    }
}

/// The name in the `state_dict` of timm's `SwinTransformer` of the parameter at a path of a [`Swin`].
///
/// ```
/// use mac_burn_models::swin::timm_name;
///
/// let path = "stages.1.blocks.0.window_attention.relative_position_bias.table";
/// let name = "layers.1.blocks.0.attn.relative_position_bias_table";
/// assert_eq!(timm_name(path), name);
/// ```
pub fn timm_name(path: &str) -> String {
    let names = path.split('.').filter_map(|name| {
        Some(match name {
            // timm's window attention has their parameters itself.
            "attention" | "relative_position_bias" => return None,
            "patch_embedding" => "patch_embed",
            "projection" | "output" => "proj",
            "stages" => "layers",
            "merging" => "downsample",
            "window_attention" => "attn",
            "table" => "relative_position_bias_table",
            "head" => "head.fc",
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        })
    });

    names.collect::<Vec<_>>().join(".")
}

/// The name in the `state_dict` of `SwinTransformer`, as Swin's authors at Microsoft define it, of the parameter at a path of a
/// [`Swin`]. Patches are merged at the end of a stage there.
///
/// ```
/// use mac_burn_models::swin::microsoft_name;
///
/// let path = "stages.1.merging.reduction.weight";
/// assert_eq!(microsoft_name(path), "layers.0.downsample.reduction.weight");
/// ```
pub fn microsoft_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["stages", stage, "merging", layer, tensor] => {
            let before = match stage.parse::<usize>() {
                Ok(stage) => stage.saturating_sub(1).to_string(),
                Err(_) => stage.to_string(),
            };
            format!("layers.{before}.downsample.{layer}.{}", tensor_name(tensor))
        }
        ["head", _] => path.to_owned(),
        _ => timm_name(path),
    }
}
