//! A classifier of signals, of a convolution, a GRU and a linear layer.

use crate::support::random;
use burn::backend::Autodiff;
use burn::module::Module;
use burn::nn::conv::Conv1dConfig;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{GruConfig, LinearConfig};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use mac_burn::{MacConfig, MacConv1d, MacGru, MacLinear};
use std::f32::consts::TAU;

type B = Autodiff<Flex>;

const CLASSES: usize = 3;
const LENGTH: usize = 32;
const BATCH: usize = 48;
const STEPS: u64 = 80;

#[derive(Module, Debug)]
struct Classifier<B: Backend> {
    conv: MacConv1d<B>,
    gru: MacGru<B>,
    output: MacLinear<B>,
}

impl<B: Backend> Classifier<B> {
    fn new(reset_after: bool, device: &B::Device) -> Self {
        let conv = Conv1dConfig::new(1, 8, 5).with_stride(2);
        let gru = GruConfig::new(8, 16, true).with_reset_after(reset_after);
        let network = Self {
            conv: conv.init(device).into(),
            gru: gru.init(device).into(),
            output: LinearConfig::new(16, CLASSES).init(device).into(),
        };
        crate::support::filled(network, 3)
    }

    /// `[batch, 1, length]` to `[batch, classes]`.
    fn forward(&self, signals: Tensor<B, 3>) -> Tensor<B, 2> {
        let features = relu(self.conv.forward(signals)).swap_dims(1, 2);
        let states = self.gru.forward(features, None);
        let [_, steps, _] = states.dims();
        self.output
            .forward(states.narrow(1, steps - 1, 1).squeeze_dim(1))
    }
}

/// Waves of the class's frequency with a phase, an amplitude and noise of their own, and the classes.
fn signals(seed: u64) -> (Tensor<B, 3>, Tensor<B, 1, Int>) {
    let device = Default::default();
    let noise: Vec<f32> = random::<Flex, 2>([BATCH, LENGTH + 2], seed)
        .into_data()
        .iter()
        .collect();
    let mut values = Vec::new();
    for (sample, noise) in noise.chunks(LENGTH + 2).enumerate() {
        let frequency = [1.0, 2.5, 5.0][sample % CLASSES];
        let (phase, amplitude) = (noise[LENGTH] * TAU, 1.0 + 0.3 * noise[LENGTH + 1]);
        values.extend((0..LENGTH).map(|time| {
            let angle = TAU * frequency * time as f32 / LENGTH as f32 + phase;
            amplitude * angle.sin() + 0.4 * noise[time]
        }));
    }
    let classes = Tensor::arange(0..BATCH as i64, &device).remainder_scalar(CLASSES as i64);
    let data = TensorData::new(values, [BATCH, 1, LENGTH]);
    (Tensor::from_data(data, &device), classes)
}

/// The share of signals that are told.
fn accuracy(network: &Classifier<B>) -> f64 {
    let (signals, classes) = signals(1_000_000);
    let found = network.forward(signals).argmax(1).reshape([BATCH]);
    let right: Vec<bool> = found.equal(classes).into_data().iter().collect();
    right.iter().filter(|right| **right).count() as f64 / BATCH as f64
}

/// Breaks when a layer hands on no gradient, is not covered, or is preconditioned by something that is far from its inputs.
#[test]
fn a_classifier_of_a_convolution_and_a_gru_learns_with_every_parameter_covered() {
    let device = Default::default();
    for reset_after in [true, false] {
        let mut network = Classifier::<B>::new(reset_after, &device);
        assert!(accuracy(&network) < 0.6);
        let mut optim = MacConfig::new().with_tinv(5).init::<B, Classifier<B>>();
        for step in 0..STEPS {
            let (signals, classes) = signals(step);
            let logits = network.forward(signals);
            let loss = CrossEntropyLossConfig::new().init(&device);
            let loss = loss.forward(logits, classes);
            let grads = GradientsParams::from_grads(loss.backward(), &network);
            network = optim.step(0.2, network, grads);
        }
        let report = optim.report(&network);
        assert_eq!(report.covered_parameters, report.parameters, "{report}");
        assert!(report.uncovered.is_empty(), "{report}");
        let accuracy = accuracy(&network);
        assert!(accuracy >= 0.95, "{accuracy}");
    }
}
