use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use super::SquareConv;

/// A convolution and the batch norm after it, whose shift stands in for the convolution's bias.
///
/// Every convolution of a [`ResNet`](crate::ResNet) is followed by a norm.
#[derive(Module, Debug)]
pub struct ConvNorm<B: Backend> {
    /// The convolution, without a bias.
    pub conv: MacConv2d<B>,
    /// The norm of its output.
    pub norm: BatchNorm<B>,
}

impl<B: Backend> ConvNorm<B> {
    pub(crate) fn new(conv: SquareConv, device: &B::Device) -> Self {
        Self {
            conv: conv.init(device),
            norm: BatchNormConfig::new(conv.channels_out()).init(device),
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
