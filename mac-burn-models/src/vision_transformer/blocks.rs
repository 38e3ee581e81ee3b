use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacSelfAttention, SelfAttention, SelfAttentionConfig};

use super::{STD, VisionTransformerConfig};
use crate::transformer::{DropPath, FeedForward, Gelu, normal_linear};

/// Makes a token of each patch of an image: a convolution whose stride is its kernel.
///
/// Part of a [`VisionTransformer`](super::VisionTransformer).
#[derive(Module, Debug)]
pub struct PatchEmbedding<B: Backend> {
    /// The linear map of a patch, as a convolution.
    pub projection: MacConv2d<B>,
}

impl<B: Backend> PatchEmbedding<B> {
    pub(super) fn new(config: &VisionTransformerConfig, device: &B::Device) -> Self {
        let patch = [config.patch_size; 2];
        let projection = Conv2dConfig::new([config.image_channels, config.d_model], patch)
            .with_stride(patch)
            .init(device);
        Self {
            projection: projection.into(),
        }
    }

    /// The tokens, in the order of rows of patches.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, patches, d_model]`
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let grid = self.projection.forward(images);
        grid.flatten::<3>(2, 3).swap_dims(1, 2)
    }
}

/// A block: attention and a feed-forward layer, each with a norm before it and the input added after it.
///
/// Part of a [`VisionTransformer`](super::VisionTransformer).
#[derive(Module, Debug)]
pub struct VisionTransformerBlock<B: Backend> {
    /// The norm before the attention.
    pub norm1: LayerNorm<B>,
    /// The self-attention.
    pub attention: MacSelfAttention<B>,
    /// The norm before the feed-forward layer.
    pub norm2: LayerNorm<B>,
    /// The feed-forward layer.
    pub mlp: FeedForward<B>,
    /// Drops outputs of both branches.
    pub dropout: Dropout,
    /// Drops both branches of a sample as a whole.
    pub drop_path: DropPath,
}

impl<B: Backend> VisionTransformerBlock<B> {
    pub(super) fn new(
        config: &VisionTransformerConfig,
        drop_path: f64,
        device: &B::Device,
    ) -> Self {
        let d_model = config.d_model;
        let hidden = (d_model as f64 * config.mlp_ratio) as usize;
        let dropout = DropoutConfig::new(config.dropout).init();
        Self {
            norm1: config.norm().init(device),
            attention: attention(config, device).into(),
            norm2: config.norm().init(device),
            mlp: FeedForward {
                fc1: normal_linear([d_model, hidden], true, STD, device).into(),
                gelu: Gelu::default(),
                dropout: dropout.clone(),
                fc2: normal_linear([hidden, d_model], true, STD, device).into(),
            },
            dropout,
            drop_path: DropPath::new(drop_path),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input and output: `[batch_size, tokens, d_model]`
    pub fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let attended = self
            .attention
            .forward(self.norm1.forward(input.clone()), None);
        let x = input + self.branch(attended);
        let output = self.mlp.forward(self.norm2.forward(x.clone()));
        x + self.branch(output)
    }

    fn branch(&self, output: Tensor<B, 3>) -> Tensor<B, 3> {
        self.drop_path.forward(self.dropout.forward(output))
    }
}

fn attention<B: Backend>(config: &VisionTransformerConfig, device: &B::Device) -> SelfAttention<B> {
    let d_model = config.d_model;
    let mut attention = SelfAttentionConfig::new(d_model, config.n_heads)
        .with_dropout(config.attention_dropout)
        .init(device);
    attention.qkv = normal_linear([d_model, 3 * d_model], config.qkv_bias, STD, device);
    attention.output = normal_linear([d_model, d_model], true, STD, device);
    attention
}
