use burn::module::Initializer;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

/// A convolution without a bias, whose kernel is square and odd and padded by half of it: with a stride of 1 the output is
/// as large as the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SquareConv<'a> {
    channels: [usize; 2],
    kernel_size: usize,
    stride: usize,
    groups: usize,
    initializer: &'a Initializer,
}

impl<'a> SquareConv<'a> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(crate) fn new(
        channels: [usize; 2],
        kernel_size: usize,
        initializer: &'a Initializer,
    ) -> Self {
        Self {
            channels,
            kernel_size,
            stride: 1,
            groups: 1,
            initializer,
        }
    }

    /// With this stride in place of 1.
    pub(crate) fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With connections only within each of as many groups of channels.
    pub(crate) fn with_groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The channels that come in.
    pub(super) fn channels_in(&self) -> usize {
        self.channels[0]
    }

    /// The channels that come out.
    pub(super) fn channels_out(&self) -> usize {
        self.channels[1]
    }

    /// Initializes the layer.
    pub(crate) fn init<B: Backend>(&self, device: &B::Device) -> MacConv2d<B> {
        let padding = self.kernel_size / 2;
        let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
        Conv2dConfig::new(self.channels, [self.kernel_size; 2])
            .with_stride([self.stride; 2])
            .with_groups(self.groups)
            .with_padding(padding)
            .with_bias(false)
            .with_initializer(self.initializer.clone())
            .init(device)
            .into()
    }
}
