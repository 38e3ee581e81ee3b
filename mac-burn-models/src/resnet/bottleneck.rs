use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use super::{ResNetConfig, Shortcut};
use crate::convolution::{ConvNorm, SquareConv};

/// How many channels come out of a block for each of its 3×3 convolution, at a width of 64.
pub(super) const EXPANSION: usize = 4;

/// The block of the larger networks: a 1×1 convolution to fewer channels, a 3×3 convolution, and a 1×1 convolution to four
/// times as many.
///
/// The 3×3 convolution has the stride; in the paper it is the first one. Part of a [`Stage`](super::Stage).
#[derive(Module, Debug)]
pub struct Bottleneck<B: Backend> {
    /// The 1×1 convolution into the bottleneck.
    pub conv1: ConvNorm<B>,
    /// The 3×3 convolution.
    pub conv2: ConvNorm<B>,
    /// The 1×1 convolution out of the bottleneck.
    pub conv3: ConvNorm<B>,
    /// The way around all three.
    pub shortcut: Shortcut<B>,
}

impl<B: Backend> Bottleneck<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        config: &ResNetConfig,
        channels: [usize; 2],
        stride: usize,
        device: &B::Device,
    ) -> Self {
        let [channels_in, channels_out] = channels;
        let inner = config.channels_within(channels_out);
        let conv =
            |channels, kernel_size| SquareConv::new(channels, kernel_size, &config.initializer);
        let conv2 = conv([inner, inner], 3).with_stride(stride);
        Self {
            conv1: ConvNorm::new(conv([channels_in, inner], 1), device),
            conv2: ConvNorm::new(conv2, device),
            conv3: ConvNorm::new(conv([inner, channels_out], 1), device),
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
        let x = relu(self.conv2.forward(x));
        let x = self.conv3.forward(x);
        relu(x + self.shortcut.forward(input))
    }
}
