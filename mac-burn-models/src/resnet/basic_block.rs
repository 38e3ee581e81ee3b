use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use super::{ResNetConfig, Shortcut};
use crate::convolution::{ConvNorm, SquareConv};

/// The block of the smaller networks: two 3×3 convolutions, of which the first has the stride.
///
/// Part of a [`Stage`](super::Stage).
#[derive(Module, Debug)]
pub struct BasicBlock<B: Backend> {
    /// The first convolution.
    pub conv1: ConvNorm<B>,
    /// The second convolution.
    pub conv2: ConvNorm<B>,
    /// The way around both.
    pub shortcut: Shortcut<B>,
}

impl<B: Backend> BasicBlock<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        config: &ResNetConfig,
        channels: [usize; 2],
        stride: usize,
        device: &B::Device,
    ) -> Self {
        let inner = [channels[1]; 2];
        let conv1 = SquareConv::new(channels, 3, &config.initializer).with_stride(stride);
        let conv2 = SquareConv::new(inner, 3, &config.initializer);
        Self {
            conv1: ConvNorm::new(conv1, device),
            conv2: ConvNorm::new(conv2, device),
            shortcut: Shortcut::new(config, channels, stride, device),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = relu(self.conv1.forward(input.clone()));
        let x = self.conv2.forward(x);
        relu(x + self.shortcut.forward(input))
    }
}
