use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use crate::convolution::{NORMAL_BY_FAN_OUT, SquareConv};

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
    /// Where the number of channels changes, the 1×1 convolution around both; it sees the input after norm and rectifier.
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
