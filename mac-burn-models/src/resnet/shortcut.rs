use burn::config::Config;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, s};

use super::ResNetConfig;
use crate::convolution::{ConvNorm, SquareConv};

/// What a shortcut does where its block changes the shape; elsewhere it is the identity.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum ShortcutKind {
    /// Takes every other row and column, and puts zeros for the channels that are missing, half of them on either side:
    /// the paper's option A, which has no parameters.
    Padding,
    /// A 1×1 convolution with the block's stride, and a norm: the paper's option B.
    Projection,
}

/// The way around a block.
///
/// Part of a [`BasicBlock`](super::BasicBlock) or a [`Bottleneck`](super::Bottleneck).
#[derive(Module, Debug)]
pub struct Shortcut<B: Backend> {
    /// The projection; without one, rows and columns are left out and channels are filled up with zeros, as many as it
    /// takes.
    pub projection: Option<ConvNorm<B>>,
    /// Of as many rows and columns one is taken.
    pub stride: usize,
    /// Channels of the output.
    pub channels: usize,
}

impl<B: Backend> Shortcut<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        config: &ResNetConfig,
        channels: [usize; 2],
        stride: usize,
        device: &B::Device,
    ) -> Self {
        let [channels_in, channels_out] = channels;
        let changes = stride != 1 || channels_in != channels_out;
        let projects = changes && config.shortcut == ShortcutKind::Projection;
        let projection = SquareConv::new(channels, 1, &config.initializer).with_stride(stride);
        Self {
            projection: projects.then(|| ConvNorm::new(projection, device)),
            stride,
            channels: channels_out,
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        match &self.projection {
            Some(projection) => projection.forward(input),
            None => self.filled_up(self.subsampled(input)),
        }
    }

    fn subsampled(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        match self.stride {
            1 => input,
            stride => input.slice(s![.., .., ..;stride, ..;stride]),
        }
    }

    fn filled_up(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch_size, channels, height, width] = input.dims();
        if channels == self.channels {
            return input;
        }
        let first = (self.channels - channels) / 2;
        // Of the input's float type, which is not always the device's.
        let zeros = Tensor::zeros(
            [batch_size, self.channels, height, width],
            (&input.device(), input.dtype()),
        );
        zeros.slice_assign(s![.., first..first + channels, .., ..], input)
    }
}
