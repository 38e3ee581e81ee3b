use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use super::{ConvNorm, ResNetConfig, Shortcut};

/// How many channels come out of a block for each of its 3×3 convolution.
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
        let inner = channels_out / EXPANSION;
        let initializer = &config.initializer;
        Self {
            conv1: ConvNorm::new([channels_in, inner], 1, 1, initializer, device),
            conv2: ConvNorm::new([inner, inner], 3, stride, initializer, device),
            conv3: ConvNorm::new([inner, channels_out], 1, 1, initializer, device),
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
