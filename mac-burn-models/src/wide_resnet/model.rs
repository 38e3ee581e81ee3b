use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

use super::WideGroup;
use crate::convolution::mean_over_positions;

/// The wide residual network: a 3×3 convolution, three groups of blocks, a norm, the mean over all positions, and a linear
/// layer.
///
/// Convolutions and head are recorded. The norms are Burn's, see [`convolution`](crate::convolution) for their one difference
/// from PyTorch's. Should be created with [`WideResNetConfig`](super::WideResNetConfig).
#[derive(Module, Debug)]
pub struct WideResNet<B: Backend> {
    /// The convolution that sees the image.
    pub stem: MacConv2d<B>,
    /// The groups, from the input to the output.
    pub groups: Vec<WideGroup<B>>,
    /// The norm after the last block, with a rectifier after it.
    pub norm: BatchNorm<B>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl<B: Backend> WideResNet<B> {
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
        let x = self.groups.iter().fold(x, |x, group| group.forward(x));
        let x = relu(self.norm.forward(x));
        self.head.forward(mean_over_positions(x))
    }
}
