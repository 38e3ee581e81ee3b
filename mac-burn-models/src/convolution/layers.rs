//! Layers of convolutional networks, and the distributions that their weights start with: the normal ones are of K. He et al.,
//! "Delving Deep into Rectifiers", [arXiv:1502.01852](https://arxiv.org/abs/1502.01852).

use std::f64::consts::SQRT_2;

use burn::module::Initializer;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

/// A variance of 2 / fan-out, which keeps the size of gradients from layer to layer.
pub(crate) const NORMAL_BY_FAN_OUT: Initializer = Initializer::KaimingNormal {
    gain: SQRT_2,
    fan_out_only: true,
};

/// A variance of 2 / fan-in, which keeps the size of activations from layer to layer.
pub(crate) const NORMAL_BY_FAN_IN: Initializer = Initializer::KaimingNormal {
    gain: SQRT_2,
    fan_out_only: false,
};

/// In ±1/√fan-in: PyTorch's own default and Burn's.
pub(crate) const UNIFORM_BY_FAN_IN: Initializer = Initializer::KaimingUniform {
    // 1/√3, by which the bound of a uniform distribution is larger than its standard deviation.
    gain: 0.577_350_269_189_625_7,
    fan_out_only: false,
};

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

/// A linear layer of size `[inputs, outputs]` whose weight and bias start with these.
pub(crate) fn linear<B: Backend>(
    size: [usize; 2],
    weight: &Initializer,
    bias: &Initializer,
    device: &B::Device,
) -> Linear<B> {
    let [inputs, outputs] = size;
    let fans = (Some(inputs), Some(outputs));
    let mut linear = LinearConfig::new(inputs, outputs).init(device);
    linear.weight = weight.init_with(size, fans.0, fans.1, device);
    linear.bias = Some(bias.init_with([outputs], fans.0, fans.1, device));
    linear
}

/// The mean of each channel over all positions.
///
/// # Shapes
/// - input: `[batch_size, channels, height, width]`
/// - output: `[batch_size, channels]`
pub(crate) fn mean_over_positions<B: Backend>(input: Tensor<B, 4>) -> Tensor<B, 2> {
    input.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
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
