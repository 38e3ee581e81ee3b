use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use super::SquareConv;

/// A batch norm, a rectifier and a convolution, in this order: pre-activation.
///
/// Every convolution of a [`DenseNet`](crate::DenseNet) but the first is part of one.
#[derive(Module, Debug)]
pub struct NormConv<B: Backend> {
    /// The norm of the input.
    pub norm: BatchNorm<B>,
    /// The convolution, without a bias.
    pub conv: MacConv2d<B>,
}

impl<B: Backend> NormConv<B> {
    pub(crate) fn new(conv: SquareConv, device: &B::Device) -> Self {
        Self {
            norm: BatchNormConfig::new(conv.channels_in()).init(device),
            conv: conv.init(device),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.conv.forward(relu(self.norm.forward(input)))
    }
}
