use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

use super::Stage;
use crate::convolution::{Stem, mean_over_positions};

/// The residual network: a stem, stages of blocks, the mean over all positions, and a linear layer.
///
/// Convolutions and head are recorded. The norms are Burn's, see [`convolution`](crate::convolution) for their one difference
/// from PyTorch's.
///
/// Should be created with [`ResNetConfig`](super::ResNetConfig).
#[derive(Module, Debug)]
pub struct ResNet<B: Backend> {
    /// What comes before the blocks.
    pub stem: Stem<B>,
    /// The stages, from the input to the output.
    pub stages: Vec<Stage<B>>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl<B: Backend> ResNet<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`, of any height and width
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.stem.forward(images);
        let x = self.stages.iter().fold(x, |x, stage| stage.forward(x));
        self.head.forward(mean_over_positions(x))
    }
}
