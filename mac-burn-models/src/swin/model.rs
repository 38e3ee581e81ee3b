use burn::module::Module;
use burn::nn::{Dropout, LayerNorm};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

use super::{SwinPatchEmbedding, SwinStage};

/// The Swin Transformer: patches become a map of tokens, each stage after the first merges them to a coarser map, and the
/// mean of the last map gives the logits.
///
/// The layers are recorded; relative position biases and norms have no inputs that a mean could be taken of. Should be
/// created with [`SwinConfig`](super::SwinConfig).
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
}
