use burn::module::{Initializer, Module};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use super::conv::conv;

/// A convolution and the batch norm after it, whose shift stands in for the convolution's bias.
///
/// Every convolution of a [`ResNet`](super::ResNet) is part of one.
#[derive(Module, Debug)]
pub struct ConvNorm<B: Backend> {
    /// The convolution, without a bias.
    pub conv: MacConv2d<B>,
    /// The norm of its output.
    pub norm: BatchNorm<B>,
}

impl<B: Backend> ConvNorm<B> {
    /// `channels` is `[channels_in, channels_out]`; the kernel is odd, and padded by half of it.
    pub(super) fn new(
        channels: [usize; 2],
        kernel_size: usize,
        stride: usize,
        initializer: &Initializer,
        device: &B::Device,
    ) -> Self {
        Self {
            conv: conv(channels, kernel_size, stride, initializer, device),
            norm: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    /// Applies the forward pass, without a rectifier.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.norm.forward(self.conv.forward(input))
    }
}
