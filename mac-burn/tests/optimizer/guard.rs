//! Statistics and gradients that are not finite do no harm.

use crate::support::{B, Network, gradients, images, train, values};
use burn::backend::Autodiff;
use burn::grad_clipping::GradientClippingConfig;
use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use mac_burn::{Mac, MacConfig, with_fresh_recorders};

/// The place of the hidden layer's weight in the values of the network.
const HIDDEN: usize = 6;

fn optimizer(guard: bool) -> Mac<Network<B>, B> {
    let config = MacConfig::new()
        .with_tcov(1)
        .with_tinv(1)
        .with_weight_decay(1e-2);
    config.with_guard_gradients(guard).init()
}

/// Replaces one element of a gradient.
fn break_gradient<const D: usize>(
    grads: &mut GradientsParams,
    id: burn::module::ParamId,
    value: f32,
) {
    type Inner = <B as AutodiffBackend>::InnerBackend;
    let grad: Tensor<Inner, D> = grads.remove(id).expect("it has a gradient");
    let at = Tensor::<Inner, 1>::from_data(TensorData::from([value]), &grad.device());
    let grad = grad.slice_assign([0; D].map(|_| 0..1), at.reshape([1; D]));
    grads.register(id, grad);
}

fn momentum(optim: &Mac<Network<B>, B>, id: burn::module::ParamId) -> Vec<f32> {
    let velocity = optim.momentum::<2>(id).expect("it has momentum");
    velocity.into_data().iter().collect()
}

/// A step whose statistics are those of these images, and whose gradients are finite.
fn step_that_saw(
    optim: &mut Mac<Network<B>, B>,
    network: Network<B>,
    images: Tensor<B, 4>,
) -> Network<B> {
    let apart = with_fresh_recorders(network.clone());
    let grads = gradients(&apart, crate::support::images(9, 5));
    drop(gradients(&network, images));
    optim.step(0.1, network, grads)
}

#[test]
fn a_batch_with_a_nan_enters_no_average_and_is_counted() {
    for broken in [f32::NAN, f32::INFINITY] {
        let mut optim = optimizer(false);
        let network = train(Network::<B>::new(1), &mut optim, 0..2);
        let id = network.conv.weight.id;
        let mean = |optim: &Mac<_, _>| {
            let ema = optim
                .preconditioner()
                .activation_ema(id)
                .expect("it recorded");
            ema.into_data()
        };
        let before = mean(&optim);
        let network = step_that_saw(&mut optim, network, images(2, 3) * broken);
        mean(&optim).assert_eq(&before, true);
        let report = optim.report(&network);
        assert_eq!(
            (report.layers[0].updates, report.layers[0].rejected),
            (3, 1)
        );

        train(network, &mut optim, 3..4);
        let after: Vec<f32> = mean(&optim).iter().collect();
        assert!(after.iter().all(|value| value.is_finite()));
        assert_ne!(after, before.iter::<f32>().collect::<Vec<_>>());
    }
}

#[test]
fn a_first_batch_that_is_not_finite_preconditions_nothing() {
    let mut optim = optimizer(false);
    let network = Network::<B>::new(1);
    let network = step_that_saw(&mut optim, network, images(0, 3) * f32::NAN);
    let id = network.conv.weight.id;
    let mean = optim
        .preconditioner()
        .mean_activation(id)
        .expect("it was refreshed");
    assert_eq!(mean.abs().sum().into_scalar(), 0.0);
    let trained = values(&train(network, &mut optim, 1..3));
    // The running statistics of Burn's norm, at 4 and 5, keep the NaN.
    let parameters = trained[..4].iter().chain(&trained[6..]);
    assert!(parameters.flatten().all(|value| value.is_finite()));
}

#[test]
fn a_broken_gradient_leaves_its_layer_as_it_is_and_training_goes_on() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut optim = optimizer(true);
        let network = train(Network::<B>::new(1), &mut optim, 0..3);
        let before = (values(&network), momentum(&optim, network.hidden.weight.id));
        let mut grads = gradients(&network, images(3, 5));
        break_gradient::<2>(&mut grads, network.hidden.weight.id, value);
        break_gradient::<1>(&mut grads, network.norm.gamma.id, value);
        let network = optim.step(0.05, network, grads);
        let after = values(&network);
        let kept: Vec<bool> = before.0.iter().zip(&after).map(|(l, r)| l == r).collect();
        // conv.weight and bias, norm.gamma and beta, its running mean and variance, hidden.weight,
        // output.weight and bias
        assert_eq!(
            kept,
            [false, false, true, false, false, false, true, false, false]
        );
        assert_eq!(momentum(&optim, network.hidden.weight.id), before.1);

        let later = values(&train(network, &mut optim, 4..6));
        assert!(later.iter().flatten().all(|value| value.is_finite()));
        assert_ne!(later[HIDDEN], after[HIDDEN]);
    }
}

/// Breaks when gradients are clipped before they are looked at: an infinity becomes a number like others.
#[test]
fn what_clipping_by_value_would_make_finite_is_broken_too() {
    for value in [f32::INFINITY, f32::NEG_INFINITY] {
        let config = MacConfig::new().with_guard_gradients(true);
        let clipping = GradientClippingConfig::Value(1e-2);
        let mut optim = config.with_gradient_clipping(Some(clipping)).init();
        let network = train(Network::<B>::new(1), &mut optim, 0..3);
        let before = values(&network);
        let mut grads = gradients(&network, images(3, 5));
        break_gradient::<2>(&mut grads, network.hidden.weight.id, value);
        let network = optim.step(0.05, network, grads);
        let after = values(&network);
        assert_eq!(after[HIDDEN], before[HIDDEN]);
        assert_ne!(after[HIDDEN + 1], before[HIDDEN + 1]);
    }
}

#[test]
fn a_first_gradient_that_is_broken_starts_the_momentum_at_zero() {
    let mut optim = optimizer(true);
    let network = Network::<B>::new(1);
    let before = values(&network);
    let mut grads = gradients(&network, images(0, 5));
    break_gradient::<2>(&mut grads, network.hidden.weight.id, f32::NAN);
    let network = optim.step(0.05, network, grads);
    assert_eq!(values(&network)[HIDDEN], before[HIDDEN]);
    assert!(
        momentum(&optim, network.hidden.weight.id)
            .iter()
            .all(|value| *value == 0.0)
    );
}

#[test]
fn the_guard_changes_no_good_step() {
    let run = |guard| {
        let mut optim = optimizer(guard);
        values(&train(Network::<B>::new(1), &mut optim, 0..5))
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn without_the_guard_a_broken_gradient_breaks_its_layer() {
    let mut optim = optimizer(false);
    let network = Network::<B>::new(1);
    let mut grads = gradients(&network, images(0, 5));
    break_gradient::<2>(&mut grads, network.hidden.weight.id, f32::NAN);
    let network = optim.step(0.05, network, grads);
    assert!(values(&network)[HIDDEN].iter().any(|value| value.is_nan()));
}

/// Gradients of a layer are guarded whether or not its statistics are used.
#[test]
fn a_layer_that_is_skipped_after_a_resume_is_guarded_too() {
    let mut optim = optimizer(true);
    let network = train(Network::<B>::new(1), &mut optim, 0..3);
    let config = MacConfig::new().with_skip_layers(vec!["hidden".into()]);
    let mut optim = config
        .with_guard_gradients(true)
        .init()
        .load_record(optim.to_record());
    let before = values(&network);
    let mut grads = gradients(&network, images(3, 5));
    break_gradient::<2>(&mut grads, network.hidden.weight.id, f32::NAN);
    let network = optim.step(0.05, network, grads);
    assert_eq!(values(&network)[HIDDEN], before[HIDDEN]);
}

/// A weight of ones in half precision after a step with learning rate 0.5 and this in each place of its gradient.
fn half_precision_step(config: MacConfig, gradient: f32) -> Vec<f64> {
    type Half = Autodiff<burn_flex::Flex>;
    let device = Default::default();
    let like = Tensor::<burn_flex::Flex, 2>::ones([SIDE, SIDE], (&device, DType::F16));
    let mut layer: Linear<Half> = LinearConfig::new(SIDE, SIDE).with_bias(false).init(&device);
    layer.weight = Param::from_tensor(Tensor::from_inner(like.clone()));
    let mut grads = GradientsParams::new();
    grads.register(layer.weight.id, like.mul_scalar(gradient));
    let layer = config.init().step(0.5, layer, grads);
    layer.weight.val().into_data().iter().collect()
}

/// So many squared that half precision, whose largest number is 65504, does not hold it.
const SIDE: usize = 256;

/// Breaks when gradients are added up in half precision, where such a sum is infinite.
#[test]
fn a_large_sum_in_half_precision_is_no_broken_gradient() {
    let stepped = half_precision_step(MacConfig::new().with_guard_gradients(true), 1.0);
    assert!(stepped.iter().all(|value| *value == 0.5));
}

/// Breaks when squares are added up in half precision: the gradient would be clipped to 0. All numbers are powers of
/// two, so that the step is exact.
#[test]
fn a_large_norm_in_half_precision_is_clipped_to_the_threshold() {
    let side = SIDE as f32;
    let config = MacConfig::new().with_gradient_clipping(Some(GradientClippingConfig::Norm(side)));
    let stepped = half_precision_step(config, 64.0);
    assert!(stepped.iter().all(|value| *value == 0.5));
}
