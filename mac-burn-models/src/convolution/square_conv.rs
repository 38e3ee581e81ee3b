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
            initializer,
        }
    }

    /// With this stride in place of 1.
    pub(crate) fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
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
            .with_padding(padding)
            .with_bias(false)
            .with_initializer(self.initializer.clone())
            .init(device)
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convolution::{NORMAL_BY_FAN_IN, NORMAL_BY_FAN_OUT, UNIFORM_BY_FAN_IN};
    use crate::testing::{TestBackend, std};

    /// Of 72 · 96 · 9 weights the standard deviation is within 4.5/√124416 = 1.3 % of the true one. Exchanged fans differ by
    /// 15 % and more.
    const OF_INITIAL_WEIGHTS: f64 = 0.013;

    #[test]
    fn weights_start_with_the_variance_of_pytorch() {
        let (fan_in, fan_out) = (72.0 * 9.0, 96.0 * 9.0);
        for (initializer, variance) in [
            (NORMAL_BY_FAN_OUT, 2.0 / fan_out),
            (NORMAL_BY_FAN_IN, 2.0 / fan_in),
            (UNIFORM_BY_FAN_IN, 1.0 / (3.0 * fan_in)),
        ] {
            let conv = SquareConv::new([72, 96], 3, &initializer);
            let weight = conv.init::<TestBackend>(&Default::default()).weight.val();
            let error = std(weight) / f64::sqrt(variance) - 1.0;
            assert!(error.abs() < OF_INITIAL_WEIGHTS, "{initializer:?}: {error}");
        }
    }
}
