use burn::module::{Initializer, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::Tensor;
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
        let mut conv: Conv2d<B> = Conv2dConfig::new(self.channels, [self.kernel_size; 2])
            .with_stride([self.stride; 2])
            .with_groups(self.groups)
            .with_padding(padding)
            .with_bias(false)
            .init(device);
        conv.weight = self.weight(device);
        conv.into()
    }

    /// The kernels. PyTorch's fan-out counts the channels of all groups, and Burn's own those of one.
    fn weight<B: Backend>(&self, device: &B::Device) -> Param<Tensor<B, 4>> {
        let [channels_in, channels_out] = self.channels;
        let (seen, size) = (channels_in / self.groups, self.kernel_size);
        let (fan_in, fan_out) = (seen * size * size, channels_out * size * size);
        let shape = [channels_out, seen, size, size];
        self.initializer
            .init_with(shape, Some(fan_in), Some(fan_out), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convolution::{NORMAL_BY_FAN_IN, NORMAL_BY_FAN_OUT, UNIFORM_BY_FAN_IN};
    use crate::testing::{TestBackend, std};

    /// Of 72 · 96 · 9 / 4 weights the standard deviation is within 4.5/√31104 = 2.6 % of the true one. A fan-out of one group
    /// makes it twice as large, and exchanged fans differ by 15 % and more.
    const OF_INITIAL_WEIGHTS: f64 = 0.026;

    #[test]
    fn weights_start_with_the_variance_of_pytorch_also_in_groups() {
        for (groups, fan_in) in [(1, 72.0 * 9.0), (4, 18.0 * 9.0)] {
            let fan_out = 96.0 * 9.0;
            for (initializer, variance) in [
                (NORMAL_BY_FAN_OUT, 2.0 / fan_out),
                (NORMAL_BY_FAN_IN, 2.0 / fan_in),
                (UNIFORM_BY_FAN_IN, 1.0 / (3.0 * fan_in)),
            ] {
                let conv = SquareConv::new([72, 96], 3, &initializer).with_groups(groups);
                let weight = conv.init::<TestBackend>(&Default::default()).weight.val();
                assert_eq!(weight.dims(), [96, 72 / groups, 3, 3]);
                let error = std(weight) / f64::sqrt(variance) - 1.0;
                assert!(
                    error.abs() < OF_INITIAL_WEIGHTS,
                    "{initializer:?} in {groups} groups: {error}"
                );
            }
        }
    }
}
