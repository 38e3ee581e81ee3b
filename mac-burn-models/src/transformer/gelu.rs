use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// The Gaussian error linear unit (D. Hendrycks and K. Gimpel, [arXiv:1606.08415](https://arxiv.org/abs/1606.08415)):
/// `gelu(x) = x Φ(x) = x/2 · (1 + erf(x/√2))`, as PyTorch's `nn.GELU()`.
///
/// Unlike Burn's, it has the gradient of this very function on every backend: Burn 0.21 leaves the backward pass to the
/// backend, and the backends that do not write it themselves get the derivative of the approximation by tanh, with
/// constants of six digits.
#[derive(Module, Clone, Debug, Default)]
pub struct Gelu {
    /// Whether to take the approximation `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`, with its own gradient; the
    /// weights that OpenAI published for GPT-2 were trained with it.
    pub approximate: bool,
}

impl Gelu {
    /// Applies the function to each element.
    ///
    /// # Shapes
    /// - input and output: `[..]`
    pub fn forward<B: Backend, const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let sigmoid = match self.approximate {
            true => approximate_argument(input.clone()).tanh(),
            false => input.clone().mul_scalar(FRAC_1_SQRT_2).erf(),
        };
        input.mul_scalar(0.5) * sigmoid.add_scalar(1.0)
    }
}

/// `√(2/π) (x + 0.044715 x³)`, without a power: of negative numbers not every backend takes one.
fn approximate_argument<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let cubic = x.clone() * x.clone().square().mul_scalar(0.044_715).add_scalar(1.0);
    cubic.mul_scalar(FRAC_2_SQRT_PI * FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TrainBackend;

    /// The values are of `f32`, 1.2e-7 apart at 1. The approximation is off by up to 5e-4; its derivative, and the
    /// gradient that Burn's function has on this backend, by 8.7e-4.
    const ROUNDING: f32 = 4e-7;

    /// At x = -3, -1, 0.5 and 2: x Φ(x), and Φ(x) + x φ(x), of the normal distribution's tables.
    const EXACT: [[f32; 3]; 4] = [
        [-3.0, -0.004_049_694, -0.011_945_648],
        [-1.0, -0.158_655_25, -0.083_315_48],
        [0.5, 0.345_731_23, 0.867_495_2],
        [2.0, 1.954_499_7, 1.085_231_8],
    ];

    fn values_and_gradients(gelu: Gelu) -> Vec<[f32; 2]> {
        let input =
            Tensor::<TrainBackend, 1>::from_data(EXACT.map(|[x, ..]| x), &Default::default())
                .require_grad();
        let output = gelu.forward(input.clone());
        let gradients = output.clone().sum().backward();
        let gradient = input.grad(&gradients).expect("the input is tracked");
        let (values, gradient) = (output.into_data(), gradient.into_data());
        let pairs = values.iter::<f32>().zip(gradient.iter::<f32>());
        pairs.map(|(value, gradient)| [value, gradient]).collect()
    }

    fn distance(found: &[[f32; 2]]) -> f32 {
        let pairs = found.iter().zip(EXACT);
        pairs
            .flat_map(|([value, gradient], [_, exact, slope])| {
                [(value - exact).abs(), (gradient - slope).abs()]
            })
            .fold(0.0, f32::max)
    }

    #[test]
    fn values_and_gradients_are_those_of_the_error_function() {
        let found = values_and_gradients(Gelu::default());
        assert!(distance(&found) < ROUNDING, "{found:?}");
    }

    #[test]
    fn the_approximation_is_another_function() {
        let found = values_and_gradients(Gelu { approximate: true });
        let distance = distance(&found);
        assert!(distance > 100.0 * ROUNDING && distance < 1e-3, "{found:?}");
    }
}
