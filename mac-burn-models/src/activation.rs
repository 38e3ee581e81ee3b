use burn::config::Config;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

/// The function after each layer of a [`LeNet`](crate::LeNet) or an [`Mlp`](crate::Mlp) but the last.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The rectifier, `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Applies the function to each element.
    ///
    /// # Shapes
    /// - input and output: `[..]`
    pub fn forward<B: Backend, const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Relu => relu(input),
            Self::Tanh => input.tanh(),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;
    use crate::testing::TestBackend;

    /// Breaks when the two are exchanged.
    #[test]
    fn each_activation_is_its_function() {
        let activated = |activation: Activation| {
            let input = Tensor::<TestBackend, 1>::from_data([-0.5, 0.5], &Default::default());
            activation.forward(input).into_data()
        };
        let tanh = 0.462_117_16_f32;
        activated(Activation::Tanh)
            .assert_approx_eq::<f32>(&[-tanh, tanh].into(), Tolerance::absolute(1e-6));
        activated(Activation::Relu).assert_eq(&[0.0_f32, 0.5].into(), true);
    }
}
