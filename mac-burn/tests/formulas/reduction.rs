//! Settings in which MAC must be something simpler, exactly.

use crate::support::{Network, difference, filled, gradients, images, random, train, values};
use burn::backend::Autodiff;
use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{LinearConfig, Relu};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, MultiGradientsParams, Optimizer, SgdConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend, DeviceOps};
use burn_ndarray::NdArray;
use mac_burn::{MacConfig, MacConv2d, MacLinear, WeightDecayForm};

type F64 = Autodiff<NdArray<f64>>;

/// Rounding of f64 over 8 steps, by which Burn's SGD, whose operations are others, differs. Weight decay left out of one
/// parameter, or one preconditioned layer, shows at 1e-4.
const ROUNDING: f64 = 1e-13;

fn sgd(nesterov: bool) -> SgdConfig {
    SgdConfig::new()
        .with_momentum(Some(
            MomentumConfig::new()
                .with_dampening(0.0)
                .with_nesterov(nesterov),
        ))
        // A power of two: Burn keeps the penalty in f32.
        .with_weight_decay(Some(WeightDecayConfig::new(0.015625)))
}

fn mac(nesterov: bool) -> MacConfig {
    MacConfig::new()
        .with_nesterov(nesterov)
        .with_weight_decay(0.015625)
        .with_weight_decay_form(WeightDecayForm::Coupled)
}

fn trained<O: Optimizer<Network<F64>, F64>>(mut optim: O) -> Vec<Vec<f64>> {
    values(&train(Network::<F64>::new(3), &mut optim, 0..8))
}

#[test]
fn infinite_damping_is_momentum_sgd() {
    for nesterov in [false, true] {
        let expected = trained(sgd(nesterov).init());
        let found = trained(mac(nesterov).with_damping(f64::INFINITY).init());
        assert!(difference(&found, &expected) <= ROUNDING);
        let other = trained(mac(nesterov).init());
        assert!(difference(&other, &expected) > 1e-4);
    }
}

#[test]
fn with_every_layer_skipped_it_is_momentum_sgd() {
    let expected = trained(sgd(false).init());
    let skip = vec!["conv".into(), "hidden".into(), "output".into()];
    let found = trained(mac(false).with_skip_layers(skip).init());
    assert!(difference(&found, &expected) <= ROUNDING);
}

/// The same two layers without recorders.
#[derive(Module, Debug)]
struct Plain<B: Backend> {
    hidden: burn::nn::Linear<B>,
    output: burn::nn::Linear<B>,
}

impl<B: AutodiffBackend> Plain<B> {
    fn new() -> Self {
        let device = Default::default();
        let plain = Self {
            hidden: LinearConfig::new(4, 3).init(&device),
            output: LinearConfig::new(3, 2).init(&device),
        };
        filled(plain, 5)
    }

    fn train<O: Optimizer<Self, B>>(mut self, mut optim: O) -> Vec<Vec<f64>> {
        for index in 0..8 {
            let input = images(index, 5).flatten::<2>(1, 3).narrow(1, 0, 4);
            let output = self
                .output
                .forward(Relu::new().forward(self.hidden.forward(input)));
            let grads = GradientsParams::from_grads(output.square().mean().backward(), &self);
            self = optim.step(0.05, self, grads);
        }
        values(&self)
    }
}

#[test]
fn without_a_recorded_layer_it_is_momentum_sgd() {
    let expected = Plain::<F64>::new().train(sgd(false).init());
    let found = Plain::<F64>::new().train(mac(false).init());
    assert!(difference(&found, &expected) <= ROUNDING);
}

#[test]
fn decoupled_decay_shrinks_parameters_without_touching_the_momentum() {
    let config = MacConfig::new().with_damping(f64::INFINITY);
    let plain = trained(config.clone().with_momentum(0.0).init());
    let decayed = trained(config.with_momentum(0.0).with_weight_decay(0.5).init());
    assert!(difference(&plain, &decayed) > 1e-3);

    let start = values(&Network::<F64>::new(3));
    let mut network = Network::<F64>::new(3);
    let mut optim = MacConfig::new()
        .with_weight_decay(0.5)
        .init::<F64, Network<F64>>();
    let none = gradients(&network, images(0, 5) * 0.0);
    network = optim.step(0.1, network, none);
    // The gradient of the conv weight is exactly 0, so all it does is to shrink by 1 − η λ.
    let shrunk: Vec<f64> = start[0]
        .iter()
        .map(|value| value * (1.0 - 0.1 * 0.5))
        .collect();
    assert!(difference(&values(&network)[..1], &[shrunk]) <= ROUNDING);
}

#[test]
fn norms_and_biases_and_patterns_are_exempt_from_decay() {
    let config = MacConfig::new().with_weight_decay(0.5);
    let all = trained(config.clone().init());
    let norms = trained(config.clone().with_no_decay_norms_and_biases(true).init());
    let output = trained(config.with_no_decay(vec!["output".into()]).init());
    let without = trained(MacConfig::new().init());
    // After one layer differs all do, so what tells is the first step.
    assert!(difference(&all, &norms) > 1e-4 && difference(&all, &output) > 1e-4);
    assert!(difference(&norms, &without) > 1e-4);

    let step = |config: MacConfig| {
        let mut optim = config.init::<F64, Network<F64>>();
        values(&train(Network::<F64>::new(3), &mut optim, 0..1))
    };
    let config = MacConfig::new().with_weight_decay(0.5);
    let (plain, all) = (step(MacConfig::new()), step(config.clone()));
    let norms = step(config.clone().with_no_decay_norms_and_biases(true));
    let output = step(config.with_no_decay(vec!["output".into()]));
    // conv.weight and bias, norm.gamma and beta, its running mean and variance, hidden.weight,
    // output.weight and bias
    let exempt = |found: &Vec<Vec<f64>>, index: usize| {
        let same = |other: &Vec<Vec<f64>>| {
            difference(&found[index..=index], &other[index..=index]) <= ROUNDING
        };
        assert!(same(&plain) || same(&all));
        same(&plain)
    };
    let ranks: Vec<bool> = [0, 1, 2, 3, 6, 7, 8]
        .iter()
        .map(|index| exempt(&norms, *index))
        .collect();
    // A beta of 0 does not decay either way.
    assert_eq!(ranks, [false, true, true, true, false, false, true]);
    let paths: Vec<bool> = [0, 1, 2, 6, 7, 8]
        .iter()
        .map(|index| exempt(&output, *index))
        .collect();
    assert_eq!(paths, [false, false, false, false, true, true]);
}

#[test]
fn a_convolution_with_a_kernel_of_one_is_a_linear_layer_on_pixels() {
    let device = Default::default();
    let conv: MacConv2d<F64> = Conv2dConfig::new([3, 4], [1, 1]).init(&device).into();
    let mut linear = LinearConfig::new(3, 4).init::<F64>(&device);
    linear.weight =
        burn::module::Param::from_tensor(conv.weight.val().reshape([4, 3]).transpose().detach());
    linear.bias = conv
        .bias
        .as_ref()
        .map(|bias| burn::module::Param::from_tensor(bias.val().detach()));
    let linear: MacLinear<F64> = linear.into();

    let images: Tensor<F64, 4> = random([2, 3, 4, 5], 1);
    let pixels = images.clone().permute([0, 2, 3, 1]);
    let weights: Tensor<F64, 4> = random([2, 4, 4, 5], 2);

    let loss = (conv.forward(images) * weights.clone()).sum();
    let grads = GradientsParams::from_grads(loss.backward(), &conv);
    let grads = MacConfig::new()
        .init_preconditioner::<F64>()
        .precondition(&conv, grads);
    let from_conv = grads
        .get::<NdArray<f64>, 4>(conv.weight.id)
        .expect("it has a gradient");

    let loss = (linear.forward(pixels) * weights.permute([0, 2, 3, 1])).sum();
    let grads = GradientsParams::from_grads(loss.backward(), &linear);
    let grads = MacConfig::new()
        .init_preconditioner::<F64>()
        .precondition(&linear, grads);
    let from_linear = grads
        .get::<NdArray<f64>, 2>(linear.weight.id)
        .expect("it has a gradient");

    let from_conv = from_conv.reshape([4, 3]).transpose();
    assert!(from_conv.all_close(from_linear, Some(0.0), Some(1e-12)));
}

#[test]
fn several_devices_are_one_step_with_the_sum_of_their_gradients() {
    let single = {
        let mut optim = mac(false)
            .with_tcov(1)
            .with_tinv(1)
            .init::<F64, Network<F64>>();
        let network = Network::<F64>::new(4);
        let (left, right) = (
            gradients(&network, images(0, 3)),
            gradients(&network, images(1, 4)),
        );
        let mut sum = burn::optim::GradientsAccumulator::new();
        sum.accumulate(&network, left);
        sum.accumulate(&network, right);
        values(&optim.step(0.05, network, sum.grads()))
    };
    let mut optim = mac(false)
        .with_tcov(1)
        .with_tinv(1)
        .init::<F64, Network<F64>>();
    let network = Network::<F64>::new(4);
    let device = burn_ndarray::NdArrayDevice::default().id();
    let workers = [network.clone(), network.clone()];
    let multi = MultiGradientsParams {
        grads: vec![
            (gradients(&workers[0], images(0, 3)), device),
            (gradients(&workers[1], images(1, 4)), device),
        ],
    };
    let multi = values(&optim.step_multi(0.05, network, multi));
    assert_eq!(multi, single);
}
