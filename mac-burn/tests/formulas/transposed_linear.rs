//! A linear layer with its weight in PyTorch's layout has the training of Burn's, with each curvature and form of the step.

use super::support::{filled, random, values};
use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::activation::tanh;
use burn::tensor::backend::Backend;
use burn_ndarray::NdArray;
use mac_burn::{
    CurvatureConfig, EvaConfig, FoofConfig, InputCurvature, KfacConfig, Mac, MacConfig, MacLinear,
    Recorder, SmacConfig, StepForm,
};

type B = Autodiff<NdArray<f64>>;

/// Two layers, whose weights are `[size_input, size_output]`.
#[derive(Module, Debug)]
struct Plain<B: Backend> {
    hidden: MacLinear<B>,
    output: MacLinear<B>,
}

/// The same with weights `[size_output, size_input]`.
#[derive(Module, Debug)]
struct Transposed<B: Backend> {
    hidden: TransposedLayer<B>,
    output: TransposedLayer<B>,
}

#[derive(Module, Debug)]
struct TransposedLayer<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Option<Param<Tensor<B, 1>>>,
    recorder: Recorder<B>,
}

impl<B: Backend> TransposedLayer<B> {
    fn of(layer: &Linear<B>) -> Self {
        Self {
            weight: Param::from_tensor(layer.weight.val().detach().transpose().detach()),
            bias: layer
                .bias
                .as_ref()
                .map(|bias| Param::from_tensor(bias.val().detach())),
            recorder: Recorder::new(),
        }
    }

    fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let weight = self.weight.val().transpose().unsqueeze();
        let output = input.clone().matmul(weight);
        let output = match &self.bias {
            Some(bias) => output + bias.val().unsqueeze(),
            None => output,
        };
        let bias = self.bias.as_ref();
        self.recorder
            .record_transposed_linear(&self.weight, bias, &input, output)
    }
}

impl<B: Backend> Plain<B> {
    fn new() -> Self {
        let device = Default::default();
        let output = LinearConfig::new(4, 3).with_bias(false);
        let network = Self {
            hidden: LinearConfig::new(5, 4).init(&device).into(),
            output: output.init(&device).into(),
        };
        filled(network, 1)
    }
}

/// The values of a network after some steps, those of weights as `[size_input, size_output]`.
fn trained<M: burn::module::AutodiffModule<B>>(
    mut network: M,
    mut optim: Mac<M, B>,
    forward: impl Fn(&M, Tensor<B, 3>) -> Tensor<B, 3>,
) -> Vec<Vec<f64>> {
    for step in 0..6 {
        // Samples of several rows, so that their axes are told from those of outputs.
        let input = random::<B, 3>([2, 4, 5], 100 + step);
        let loss = forward(&network, input).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        network = optim.step(0.1, network, grads);
    }
    // Both weights; forms of the step, and the mean with variances, leave biases alone.
    assert!(optim.report(&network).covered_parameters >= 5 * 4 + 4 * 3);
    values(&network)
}

fn transposed(values: &[f64], rows: usize) -> Vec<f64> {
    let columns = values.len() / rows;
    let places = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
    places.map(|place| values[place]).collect()
}

fn check<C: CurvatureConfig>(
    config: &C,
    of_plain: fn(&C) -> Mac<Plain<B>, B>,
    of_transposed: fn(&C) -> Mac<Transposed<B>, B>,
) {
    let plain = Plain::<B>::new();
    let start = values(&plain);
    let other = Transposed {
        hidden: TransposedLayer::of(&plain.hidden),
        output: TransposedLayer::of(&plain.output),
    };
    let expected = trained(plain, of_plain(config), |network, input| {
        network.output.forward(tanh(network.hidden.forward(input)))
    });
    let mut found = trained(other, of_transposed(config), |network, input| {
        network.output.forward(tanh(network.hidden.forward(input)))
    });
    found[0] = transposed(&found[0], 4);
    found[2] = transposed(&found[2], 3);
    let (differs, moved) = (
        super::support::difference(&found, &expected),
        super::support::difference(&start, &expected),
    );
    assert!(moved > 0.02, "nothing was learnt: {moved}");
    assert!(differs < 1e-12, "differs by {differs}");
}

macro_rules! check {
    ($($config:expr),* $(,)?) => {
        $(check(&$config, |config| config.init(), |config| config.init());)*
    };
}

/// Breaks when a curvature or a form of the step takes the axes of such a weight for those of Burn's, or gradients at outputs for a convolution's.
#[test]
fn a_transposed_weight_has_the_training_of_a_plain_one() {
    let mac = || MacConfig::new().with_damping(0.3).with_tcov(2).with_tinv(3);
    check!(
        mac(),
        mac().with_guard_gradients(true),
        mac().with_step(StepForm::Normalized),
        mac().with_step(StepForm::RowsAndColumns),
        mac().with_step(StepForm::Orthogonal { iterations: 5 }),
        mac()
            .with_curvature(InputCurvature::MeanVariance)
            .with_damping(1.0),
        KfacConfig::new().with_tcov(2).with_tinv(2),
        FoofConfig::new().with_tcov(2).with_tinv(2),
        EvaConfig::new(),
        SmacConfig::new().with_tcov(2).with_tinv(2),
    );
}
