//! Spectra of what plain layers see.

use super::{A, R, support::filled, support::random};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use mac_burn::spectrum::{OutputSpectrum, Spectrum};
use mac_burn::{MacConv2d, MacLinear};

macro_rules! network {
    ($name:ident, $conv:ident, $linear:ident) => {
        #[derive(Module, Debug)]
        struct $name<B: Backend> {
            conv: $conv<B>,
            output: $linear<B>,
        }

        impl<B: AutodiffBackend> $name<B> {
            #[allow(clippy::useless_conversion, reason = "one of the two is recorded")]
            fn new() -> Self {
                let device = Default::default();
                let network = Self {
                    conv: Conv2dConfig::new([1, 2], [2, 2]).init(&device).into(),
                    output: LinearConfig::new(8, 3).init(&device).into(),
                };
                filled(network, 1)
            }

            fn loss(&self) -> Tensor<B, 1> {
                let x = self.conv.forward(random([5, 1, 3, 3], 7));
                self.output.forward(x.flatten::<2>(1, 3)).square().mean()
            }

            fn spectra(&self) -> (Spectrum, OutputSpectrum) {
                let inputs = Spectrum::of::<B, _>(self, |network| {
                    let _ = network.loss();
                });
                let outputs = OutputSpectrum::of::<B, _>(self, |network| {
                    GradientsParams::from_grads(network.loss().backward(), network)
                });
                (inputs, outputs)
            }
        }
    };
}

network!(Recorded, MacConv2d, MacLinear);
network!(Plain, Conv2d, Linear);

/// Breaks when the moments of a plain layer are not those of its parameters, or recorded layers on the backend that records are measured twice.
#[test]
fn spectra_are_those_of_recorded_layers() {
    let (inputs, outputs) = Recorded::<A>::new().spectra();
    assert_eq!([inputs.layers.len(), outputs.layers.len()], [2, 2]);
    assert_eq!(
        Plain::<R>::new().spectra(),
        (inputs.clone(), outputs.clone())
    );
    assert_eq!(Recorded::<R>::new().spectra(), (inputs, outputs));
}

/// A product whose first factor is the parameter.
#[derive(Module, Debug)]
struct First<B: Backend> {
    weight: Param<Tensor<B, 2>>,
}

/// Breaks when a first factor is measured only where an optimizer asks for its passes.
#[test]
fn spectra_have_first_factors() {
    let first = First::<R> {
        weight: Param::from_tensor(random([3, 4], 1)),
    };
    let loss = |first: &First<R>| first.weight.val().matmul(random([4, 5], 2)).square().mean();
    let inputs = Spectrum::of::<R, _>(&first, |first| drop(loss(first)));
    let outputs = OutputSpectrum::of::<R, _>(&first, |first| {
        GradientsParams::from_grads(loss(first).backward(), first)
    });
    assert_eq!([inputs.layers.len(), outputs.layers.len()], [1, 1]);
}
