use burn::config::Config;
use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, relu, softsign};
use burn::tensor::backend::Backend;

use crate::transformer::Gelu;

/// The slope of the leaky rectifier below 0.
const LEAK: f64 = 0.01;

/// SELU's `α` and `λ`: a layer of the paper's, with these, leaves a mean of 0 and a variance of 1 as they are.
const SELU: (f64, f64) = (1.673_263_242_354_377_2, 1.050_700_987_355_480_5);

/// The function after each layer of a [`LeNet`](super::LeNet) but the last.
///
/// These are the functions of one value among those that the authors of MAC offer, with PyTorch's defaults. Each is computed in
/// the float type of its input.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum LeNetActivation {
    /// The rectifier, `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function, `σ(x) = 1 / (1 + exp(−x))`.
    Sigmoid,
    /// No function, `x`.
    Identity,
    /// The rectifier that ends at 6, `min(max(x, 0), 6)`.
    Relu6,
    /// The leaky rectifier, `x` from 0 on and `0.01 x` below.
    LeakyRelu,
    /// The [Gaussian error linear unit](Gelu), `x Φ(x)` with the normal distribution `Φ`, in its exact form.
    Gelu,
    /// The sigmoid linear unit, which is also called swish, `x σ(x)`.
    Silu,
    /// The exponential linear unit (D.-A. Clevert, T. Unterthiner and S. Hochreiter,
    /// [arXiv:1511.07289](https://arxiv.org/abs/1511.07289)), `x` above 0 and `exp(x) − 1` below. PyTorch's CELU is the same
    /// function.
    Elu,
    /// The scaled exponential linear unit (G. Klambauer et al., [arXiv:1706.02515](https://arxiv.org/abs/1706.02515)), `λ x`
    /// above 0 and `λ α (exp(x) − 1)` below, with `λ ≈ 1.0507` and `α ≈ 1.6733`.
    Selu,
    /// The smooth rectifier, `ln(1 + exp(x))`; PyTorch leaves out the difference to `x` above 20, where it is 2e-9 and less.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `ln σ(x)`.
    LogSigmoid,
}

impl LeNetActivation {
    /// All functions.
    #[cfg(test)]
    const ALL: [Self; 13] = [
        Self::Relu,
        Self::Tanh,
        Self::Sigmoid,
        Self::Identity,
        Self::Relu6,
        Self::LeakyRelu,
        Self::Gelu,
        Self::Silu,
        Self::Elu,
        Self::Selu,
        Self::Softplus,
        Self::Softsign,
        Self::LogSigmoid,
    ];

    /// Applies the function to each element.
    ///
    /// # Shapes
    /// - input and output: `[..]`
    pub fn forward<B: Backend, const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Relu => relu(input),
            Self::Tanh => input.tanh(),
            Self::Sigmoid => sigmoid(input),
            Self::Identity => input,
            Self::Relu6 => relu(input.clamp_max(6.0)),
            Self::LeakyRelu => leaky_relu(input, LEAK),
            Self::Gelu => Gelu::default().forward(input),
            Self::Silu => input.clone() * sigmoid(input),
            Self::Elu => elu(input, 1.0),
            Self::Selu => elu(input, SELU.0).mul_scalar(SELU.1),
            Self::Softplus => softplus(input),
            Self::Softsign => softsign(input),
            Self::LogSigmoid => softplus(input.neg()).neg(),
        }
    }
}

/// `σ(x)`. Burn 0.21's own computes in `f32` on most backends.
fn sigmoid<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.mul_scalar(0.5).tanh().add_scalar(1.0).mul_scalar(0.5)
}

/// `x` above 0 and `α (exp(x) − 1)` below. Burn's own takes the exponential of large numbers too, and by these its gradient is
/// `0 · ∞`.
fn elu<B: Backend, const D: usize>(x: Tensor<B, D>, alpha: f64) -> Tensor<B, D> {
    let below = x.clone().clamp_max(0.0).exp().sub_scalar(1.0);
    relu(x) + below.mul_scalar(alpha)
}

/// `ln(1 + exp(x))`, as `(x + |x|) / 2 + ln(1 + exp(−|x|))`: Burn's own takes the exponential of large numbers.
fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let size = x.clone().abs();
    (x + size.clone()).mul_scalar(0.5) + size.neg().exp().log1p()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::testing::{TestBackend, TrainBackend};

    /// Values up to 8 in `f32`, of which one rounding is 2.4e-7. Any two of the functions are 1e-2 and more apart at one of the
    /// places, and GELU's approximation by tanh is 1.5e-4 away from it.
    const ROUNDING: f64 = 2e-6;

    /// On ndarray reciprocals of `f32` are off by up to 6e-5, and gradients of divisions and logarithms with them. A difference
    /// quotient is off by 1e-10; the gradient of GELU's approximation by 8e-4.
    const SLOPE_ROUNDING: f64 = 2e-4;

    /// Half of what the difference quotients are over.
    const STEP: f64 = 1e-5;

    const PLACES: [f32; 6] = [-3.0, -1.0, -0.5, 0.25, 2.0, 7.0];

    /// `Φ(x)`, by its series.
    fn normal_distribution(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for odd in (3..400).step_by(2) {
            term *= x * x / f64::from(odd);
            sum += term;
        }
        0.5 + sum * (-x * x / 2.0).exp() / TAU.sqrt()
    }

    /// The functions as their definitions have them.
    fn defined(activation: LeNetActivation, x: f64) -> f64 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        match activation {
            LeNetActivation::Relu => x.max(0.0),
            LeNetActivation::Tanh => x.tanh(),
            LeNetActivation::Sigmoid => sigmoid,
            LeNetActivation::Identity => x,
            LeNetActivation::Relu6 => x.clamp(0.0, 6.0),
            LeNetActivation::LeakyRelu if x < 0.0 => 0.01 * x,
            LeNetActivation::Elu if x < 0.0 => x.exp_m1(),
            LeNetActivation::LeakyRelu | LeNetActivation::Elu => x,
            LeNetActivation::Gelu => x * normal_distribution(x),
            LeNetActivation::Silu => x * sigmoid,
            LeNetActivation::Selu if x < 0.0 => 1.758_099_340_847_376_6 * x.exp_m1(),
            LeNetActivation::Selu => 1.050_700_987_355_480_5 * x,
            LeNetActivation::Softplus => x.exp().ln_1p(),
            LeNetActivation::Softsign => x / (1.0 + x.abs()),
            LeNetActivation::LogSigmoid => sigmoid.ln(),
        }
    }

    fn values(activation: LeNetActivation, input: &[f32]) -> Vec<f64> {
        let input = Tensor::<TestBackend, 1>::from_data(input, &Default::default());
        activation.forward(input).into_data().iter().collect()
    }

    fn gradients(activation: LeNetActivation, input: &[f32]) -> Vec<f64> {
        let input = Tensor::<TrainBackend, 1>::from_data(input, &Default::default()).require_grad();
        let gradients = activation.forward(input.clone()).sum().backward();
        let gradient = input.grad(&gradients).expect("the input is tracked");
        gradient.into_data().iter().collect()
    }

    /// Breaks when a function is another, or has another slope, scale or offset.
    #[test]
    fn each_is_its_function() {
        for activation in LeNetActivation::ALL {
            for (found, x) in values(activation, &PLACES).into_iter().zip(PLACES) {
                let difference = (found - defined(activation, x.into())).abs();
                assert!(difference < ROUNDING, "{activation:?} of {x}: {found}");
            }
        }
    }

    /// Breaks when a gradient is that of another function, or of a function that is rounded.
    #[test]
    fn each_has_the_gradient_of_its_function() {
        for activation in LeNetActivation::ALL {
            for (found, x) in gradients(activation, &PLACES).into_iter().zip(PLACES) {
                let defined = |step| defined(activation, f64::from(x) + step);
                let slope = (defined(STEP) - defined(-STEP)) / (2.0 * STEP);
                let difference = (found - slope).abs();
                assert!(
                    difference < SLOPE_ROUNDING,
                    "{activation:?} at {x}: {found} for {slope}"
                );
            }
        }
    }

    /// The exponential of 100 is no number of `f32`. Breaks when a function takes it, also where its value does not need it: the
    /// gradient is 0 · ∞ then.
    #[test]
    fn large_values_have_finite_outputs_and_gradients() {
        for activation in LeNetActivation::ALL {
            let input = [-100.0, 100.0];
            for found in [values(activation, &input), gradients(activation, &input)] {
                let finite = found.iter().all(|found| found.is_finite());
                assert!(finite, "{activation:?}: {found:?}");
            }
        }
    }

    /// The gradients of PyTorch where a function has two parts. Breaks when both give one at 0, or none does.
    #[test]
    fn at_zero_the_gradient_is_that_of_one_part() {
        for (activation, expected) in [
            (LeNetActivation::Relu, 0.0),
            (LeNetActivation::Relu6, 0.0),
            (LeNetActivation::Elu, 1.0),
            (LeNetActivation::Selu, 1.758_099_340_847_376_6),
            (LeNetActivation::Softplus, 0.5),
            (LeNetActivation::Softsign, 1.0),
            (LeNetActivation::LogSigmoid, 0.5),
        ] {
            let difference = (gradients(activation, &[0.0])[0] - expected).abs();
            assert!(difference < SLOPE_ROUNDING, "{activation:?}: {difference}");
        }
    }
}
