use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use super::WideResNetConfig;
use crate::convolution::{NORMAL_BY_FAN_OUT, SquareConv};

/// Blocks of one size, which the paper calls conv2, conv3 and conv4: the first of them has the stride and the new number of
/// channels.
///
/// Part of a [`WideResNet`](super::WideResNet).
#[derive(Module, Debug)]
pub struct WideGroup<B: Backend> {
    /// The blocks, from the input to the output.
    pub blocks: Vec<WideBlock<B>>,
}

impl<B: Backend> WideGroup<B> {
    /// The group of this index, counted from 0.
    pub(super) fn new(config: &WideResNetConfig, index: usize, device: &B::Device) -> Self {
        let channels_in = config.channels_into_group(index);
        let channels_out = config.channels_of_group(index);
        let stride = if index == 0 { 1 } else { 2 };
        let block = |position| match position {
            0 => WideBlock::new([channels_in, channels_out], stride, config.dropout, device),
            _ => WideBlock::new([channels_out; 2], 1, config.dropout, device),
        };
        Self {
            blocks: (0..config.blocks()).map(block).collect(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, height, width]` of the first group, half the height and width, rounded up, of
    ///   the others
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.blocks.iter().fold(input, |x, block| block.forward(x))
    }
}

/// The block B(3, 3) of the paper: two 3×3 convolutions, each with a norm and a rectifier before it, and dropout between
/// them.
///
/// Part of a [`WideGroup`](super::WideGroup).
#[derive(Module, Debug)]
pub struct WideBlock<B: Backend> {
    /// The norm before the first convolution.
    pub norm1: BatchNorm<B>,
    /// The first convolution, which has the stride.
    pub conv1: MacConv2d<B>,
    /// The norm before the second convolution.
    pub norm2: BatchNorm<B>,
    /// Drops values that go into the second convolution.
    pub dropout: Dropout,
    /// The second convolution.
    pub conv2: MacConv2d<B>,
    /// The 1×1 convolution around both, if the number of channels changes; it sees the input after norm and rectifier.
    /// Elsewhere the input itself is added.
    pub shortcut: Option<MacConv2d<B>>,
}

impl<B: Backend> WideBlock<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        channels: [usize; 2],
        stride: usize,
        dropout: f64,
        device: &B::Device,
    ) -> Self {
        let [channels_in, channels_out] = channels;
        let conv =
            |channels, kernel_size| SquareConv::new(channels, kernel_size, &NORMAL_BY_FAN_OUT);
        let shortcut = || conv(channels, 1).with_stride(stride).init(device);
        Self {
            norm1: BatchNormConfig::new(channels_in).init(device),
            conv1: conv(channels, 3).with_stride(stride).init(device),
            norm2: BatchNormConfig::new(channels_out).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            conv2: conv([channels_out; 2], 3).init(device),
            shortcut: (channels_in != channels_out).then(shortcut),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let activated = relu(self.norm1.forward(input.clone()));
        let around = match &self.shortcut {
            Some(shortcut) => shortcut.forward(activated.clone()),
            None => input,
        };
        let x = relu(self.norm2.forward(self.conv1.forward(activated)));
        around + self.conv2.forward(self.dropout.forward(x))
    }
}
