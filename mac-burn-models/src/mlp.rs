//! A multi-layer perceptron.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Initializer, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

use crate::Activation;
use crate::limits::assert_at_least_one;

/// Of [`LinearConfig`].
const KAIMING: Initializer = Initializer::KaimingUniform {
    gain: 0.577_350_269_189_625_8,
    fan_out_only: false,
};

/// Configuration of an [`Mlp`].
#[derive(Config, Debug)]
pub struct MlpConfig {
    /// Sizes from the input over the hidden layers to the output: `[64, 100, 10]` makes two linear layers.
    pub sizes: Vec<usize>,
    /// Whether the linear layers have a bias.
    #[config(default = true)]
    pub bias: bool,
    /// The function after each layer but the last.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
    /// The initializer of weights and biases; Burn's own for linear layers, if it is not set. Deep networks with tanh or a
    /// sigmoid want [`Initializer::XavierNormal`]: with Burn's own, signals get smaller from layer to layer.
    #[config(default = "KAIMING")]
    pub initializer: Initializer,
}

/// Linear layers with a function between each two of them.
///
/// From a layer of size m to one of size n there are (m + 1)·n parameters, m·n without bias.
///
/// Should be created with [`MlpConfig`].
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// The linear layers, from the input to the output.
    pub layers: Vec<MacLinear<B>>,
    /// The function after each layer but the last.
    pub activation: Activation,
}

impl MlpConfig {
    /// Initializes a new [`Mlp`].
    ///
    /// # Panics
    /// If there are fewer than two sizes, for an input and an output make the smallest network, or one of them is 0.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Mlp<B> {
        assert!(
            self.sizes.len() >= 2,
            "an MLP needs the size of its input and of its output: sizes is {:?}",
            self.sizes
        );
        for (index, size) in self.sizes.iter().enumerate() {
            assert_at_least_one(&format!("sizes[{index}]"), *size);
        }

        Mlp {
            layers: self
                .sizes
                .windows(2)
                .map(|size| LinearConfig::new(size[0], size[1]).with_bias(self.bias))
                .map(|config| config.with_initializer(self.initializer.clone()))
                .map(|config| config.init(device).into())
                .collect(),
            activation: self.activation,
        }
    }
}

impl<B: Backend> Mlp<B> {
    /// Applies the forward pass: the output of the last layer, without the function.
    ///
    /// # Shapes
    /// - `input`: `[.., first size]`
    /// - output: `[.., last size]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        self.layers
            .iter()
            .enumerate()
            .fold(input, |x, (index, layer)| match index {
                0 => layer.forward(x),
                _ => layer.forward(self.activation.forward(x)),
            })
    }

    /// The layer that sees the input, for an [`InputCovariance`](mac_burn::InputCovariance).
    ///
    /// # Panics
    /// If [`layers`](Self::layers) is empty.
    pub fn first_layer(&self) -> &MacLinear<B> {
        &self.layers[0]
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::Linear;
    use burn::tensor::Distribution;

    use super::*;
    use crate::testing::{TestBackend, through_a_file};

    /// Three plain layers, named like those of an [`Mlp`].
    #[derive(Module, Debug)]
    struct Plain<B: Backend> {
        layers: Vec<Linear<B>>,
        activation: Activation,
    }

    fn plain(sizes: [usize; 4]) -> Plain<TestBackend> {
        let layer =
            |index| LinearConfig::new(sizes[index], sizes[index + 1]).init(&Default::default());
        Plain {
            layers: vec![layer(0), layer(1), layer(2)],
            activation: Activation::Tanh,
        }
    }

    #[test]
    fn the_number_of_parameters_is_the_documented_one() {
        let config = MlpConfig::new(vec![64, 100, 10]);
        let parameters =
            |config: MlpConfig| config.init::<TestBackend>(&Default::default()).num_params();

        assert_eq!(parameters(config.clone()), 65 * 100 + 101 * 10);
        assert_eq!(parameters(config.with_bias(false)), 64 * 100 + 100 * 10);
    }

    #[test]
    fn a_record_of_plain_layers_gives_the_same_output_bit_for_bit() {
        let sizes = [6, 9, 8, 3];
        let plain = plain(sizes);
        let input = Tensor::<TestBackend, 3>::random(
            [2, 5, 6],
            Distribution::Normal(0.0, 1.0),
            &Default::default(),
        );
        let [first, second, third] = [0, 1, 2].map(|index| &plain.layers[index]);
        let hidden = second.forward(first.forward(input.clone()).tanh()).tanh();
        let expected = third.forward(hidden);

        let recorded: Mlp<TestBackend> = through_a_file(
            plain,
            MlpConfig::new(sizes.to_vec())
                .with_activation(Activation::Tanh)
                .init(&Default::default()),
        );
        let output = recorded.forward(input);

        assert_eq!(output.dims(), [2, 5, 3]);
        assert_eq!(output.into_data(), expected.into_data());
    }

    #[test]
    #[should_panic(expected = "sizes is [64]")]
    fn a_single_size_is_refused() {
        MlpConfig::new(vec![64]).init::<TestBackend>(&Default::default());
    }
}
