use burn::module::Module;
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::DenseNetConfig;
use crate::convolution::{NormConv, SquareConv};

/// What is between two blocks: a 1×1 convolution to fewer channels, and the mean of each 2×2 positions.
///
/// Part of a [`DenseNet`](super::DenseNet).
#[derive(Module, Debug)]
pub struct Transition<B: Backend> {
    /// The convolution.
    pub conv: NormConv<B>,
    /// Drops values of what the convolution gives.
    pub dropout: Dropout,
    /// The pooling.
    pub pool: AvgPool2d,
}

impl<B: Backend> Transition<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(config: &DenseNetConfig, channels: [usize; 2], device: &B::Device) -> Self {
        let conv = SquareConv::new(channels, 1, &config.initializer);
        Self {
            conv: NormConv::new(conv, device),
            dropout: DropoutConfig::new(config.dropout).init(),
            pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌊height / 2⌋, ⌊width / 2⌋]`
    ///
    /// # Panics
    /// If height or width is 1, of which nothing is left.
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, height, width] = input.dims();
        assert!(
            height > 1 && width > 1,
            "a transition halves its map, and leaves nothing of {:?}: the images are too small",
            [height, width]
        );
        let output = self.dropout.forward(self.conv.forward(input));
        self.pool.forward(output)
    }
}
