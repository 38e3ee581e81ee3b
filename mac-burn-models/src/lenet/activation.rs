use burn::config::Config;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

/// The function after each layer of a [`LeNet`](super::LeNet) but the last.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum LeNetActivation {
    /// The rectifier, `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function, `1 / (1 + exp(−x))`.
    Sigmoid,
}

impl LeNetActivation {
    /// Applies the function to each element.
    ///
    /// # Shapes
    /// - input and output: `[..]`
    pub fn forward<B: Backend, const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Relu => relu(input),
            Self::Tanh => input.tanh(),
            // Burn 0.21's own sigmoid computes in `f32` on most backends.
            Self::Sigmoid => input.mul_scalar(0.5).tanh().add_scalar(1.0).mul_scalar(0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;

    /// The values are of `f32`, 6e-8 apart below 1; the functions are 0.1 and more apart.
    const ROUNDING: f32 = 2e-7;

    /// Breaks when a function is another, or the sigmoid has another slope or offset.
    #[test]
    fn each_is_its_function() {
        let input = [-3.0, -0.5, 0.25, 2.0];
        let function = |activation, x: f32| match activation {
            LeNetActivation::Relu => x.max(0.0),
            LeNetActivation::Tanh => x.tanh(),
            LeNetActivation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        };
        for activation in [
            LeNetActivation::Relu,
            LeNetActivation::Tanh,
            LeNetActivation::Sigmoid,
        ] {
            let tensor = Tensor::<TestBackend, 1>::from_data(input, &Default::default());
            let output = activation.forward(tensor).into_data();
            for (found, x) in output.iter::<f32>().zip(input) {
                let difference = (found - function(activation, x)).abs();
                assert!(difference < ROUNDING, "{activation:?} of {x}: {found}");
            }
        }
    }
}
