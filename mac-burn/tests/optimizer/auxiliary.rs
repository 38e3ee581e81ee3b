//! The parameters that an auxiliary optimizer steps, and that all else is as without it.

use crate::auxiliary_optimizer::*;
use crate::support::{B, Network, filled, gradients, images, train, values};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, ParamId};
use burn::nn::{LinearConfig, Relu};
use burn::optim::{
    AdamWConfig, GradientsAccumulator, GradientsParams, MultiGradientsParams, Optimizer,
};
use burn::tensor::backend::{AutodiffBackend, Backend, DeviceOps};
use burn::tensor::{Tensor, TensorData};
use mac_burn::{InputCovariance, MacConfig, MacError, MacLinear};

type Inner = <B as AutodiffBackend>::InnerBackend;

/// Takes steps with gradients that do not depend on them, so that what an optimizer does to one
/// parameter does not reach the others: they are those of a network that stays as it is.
fn take<O: Optimizer<Network<B>, B>>(
    steps: u64,
    optim: &mut O,
    mut network: Network<B>,
    lr: impl Fn(u64) -> f64,
    change: impl Fn(u64, &Network<B>, GradientsParams) -> GradientsParams,
) -> Vec<Vec<f64>> {
    let still = network.clone();
    for index in 0..steps {
        let grads = change(index, &still, gradients(&still, images(index, 5)));
        network = optim.step(lr(index), network, grads);
    }
    values(&network)
}

fn steps<O: Optimizer<Network<B>, B>>(
    optim: &mut O,
    network: Network<B>,
    lr: impl Fn(u64) -> f64,
    change: impl Fn(u64, &Network<B>, GradientsParams) -> GradientsParams,
) -> Vec<Vec<f64>> {
    take(STEPS, optim, network, lr, change)
}

fn stepped<O: Optimizer<Network<B>, B>>(mut optim: O, lr: impl Fn(u64) -> f64) -> Vec<Vec<f64>> {
    steps(&mut optim, Network::new(3), lr, |_, _, grads| grads)
}

/// Two layers without recorders.
#[derive(Module, Debug)]
struct Plain<B: Backend> {
    hidden: burn::nn::Linear<B>,
    output: burn::nn::Linear<B>,
}

impl Plain<B> {
    fn train<O: Optimizer<Self, B>>(mut optim: O) -> Vec<Vec<f64>> {
        let device = Default::default();
        let plain = Self {
            hidden: LinearConfig::new(4, 3).init(&device),
            output: LinearConfig::new(3, 2).init(&device),
        };
        let mut plain = filled(plain, 5);
        for index in 0..STEPS {
            let input = images(index, 5).flatten::<2>(1, 3).narrow(1, 0, 4);
            let hidden = Relu::new().forward(plain.hidden.forward(input));
            let loss = plain.output.forward(hidden).square().mean();
            let grads = GradientsParams::from_grads(loss.backward(), &plain);
            plain = optim.step(LR, plain, grads);
        }
        values(&plain)
    }
}

/// Breaks when the bias of a layer that records nothing is left to momentum SGD.
#[test]
fn the_bias_of_a_frozen_weight_is_uncovered() {
    let mut linear = LinearConfig::new(4, 2).init::<B>(&Default::default());
    linear.weight = linear.weight.no_grad();
    let layer: MacLinear<B> = linear.into();
    let adamw = AdamWConfig::new().init();
    let optim = MacConfig::new().init::<B, MacLinear<B>>();
    let optim = optim.with_auxiliary_optimizer(adamw, 0.1);
    let report = optim.expect("the factor is allowed").report(&layer);
    let second = report.auxiliary_optimizer.expect("there is one");
    assert_eq!(second.paths, ["bias"]);
}

/// Breaks when momentum, weight decay or the preconditioner of MAC reaches an uncovered parameter.
#[test]
fn without_a_recorded_layer_it_is_the_auxiliary_optimizer() {
    let optim = config()
        .init()
        .with_auxiliary_optimizer(adamw().init(), 1.0)
        .expect("the factor is allowed");
    assert_eq!(Plain::train(optim), Plain::train(adamw().init()));
}

/// Breaks when a parameter goes to the other optimizer or to both, or the factor is left out.
#[test]
fn each_parameter_takes_the_step_of_its_optimizer() {
    let adamw = stepped(adamw().init(), |_| LR * 0.5);
    let cases: [(&[&str], &[usize]); 3] = [
        (&[], &NORM),
        (&["hidden"], &[2, 3, 6]),
        (&["conv", "hidden", "output"], &TRAINED),
    ];
    for (skipped, uncovered) in cases {
        let skipped = skipped.iter().map(|path| path.to_string()).collect();
        let config = config().with_skip_layers(skipped);
        let found = stepped(both(config.clone(), 0.5), |_| LR);
        let mac = stepped(config.init(), |_| LR);
        assert_eq!(same(&found, &adamw), uncovered);
        assert_eq!(same(&found, &mac), all_but(uncovered));
    }
}

/// Breaks when the decay of what is handed over has another learning rate, comes after the step, or holds for exempted parameters.
#[test]
fn the_auxiliary_weight_decay_is_adamws_own_but_for_exempted_parameters() {
    let adamw = |decay| AdamWConfig::new().with_weight_decay(decay).init();
    let config = config()
        .with_skip_layers(vec!["hidden".into()])
        .with_auxiliary_weight_decay(0.25);
    let optim = config.init().with_auxiliary_optimizer(adamw(0.0), 0.5);
    let found = stepped(optim.expect("the factor is allowed"), |_| LR);
    let decayed = stepped(adamw(0.25), |_| LR * 0.5);
    let plain = stepped(adamw(0.0), |_| LR * 0.5);
    assert_eq!(same(&found, &decayed), [HIDDEN]);
    assert_eq!(same(&found, &plain), NORM);
}

/// Breaks when a layer that is preconditioned by its input covariance counts as uncovered.
#[test]
fn a_first_layer_with_an_input_covariance_is_covered() {
    let run = |second: bool| {
        let network = Network::<B>::new(3);
        let mut covariance = InputCovariance::of(&network.conv);
        covariance.update(images::<B>(100, 4));
        let mac = config().init().with_input_covariance(&covariance);
        let mut mac = mac.expect("the covariance is regular");
        if !second {
            return steps(&mut mac, network, |_| LR, |_, _, grads| grads);
        }
        let both = mac.with_auxiliary_optimizer(adamw().init(), 0.5);
        let mut both = both.expect("the factor is allowed");
        steps(&mut both, network, |_| LR, |_, _, grads| grads)
    };
    assert_eq!(same(&run(true), &run(false)), all_but(&NORM));
}

/// Breaks when the factor in use stays that of the beginning.
#[test]
fn the_factor_may_change_between_steps() {
    let expected = stepped(
        adamw().init(),
        |index| if index < 3 { LR * 0.5 } else { LR * 2.0 },
    );
    let mut optim = both(config(), 0.5);
    let mut network = Network::<B>::new(3);
    let still = network.clone();
    for index in 0..STEPS {
        if index == 3 {
            optim.set_auxiliary_lr_factor(2.0).expect("it is allowed");
        }
        let grads = gradients(&still, images(index, 5));
        network = optim.step(LR, network, grads);
    }
    assert_eq!(same(&values(&network), &expected), NORM);
}

/// Breaks when the rate is a factor of MAC's, when MAC's own changes with it, or when it stays after a factor was set.
#[test]
fn the_auxiliary_optimizer_may_have_a_schedule_of_its_own() {
    let own = |index| 0.01 / (1.0 + index as f64);
    let expected = stepped(adamw().init(), |index| {
        if index < 4 { own(index) } else { LR * 0.5 }
    });
    let by_mac = stepped(config().init(), |_| LR);
    let mut optim = both(config(), 0.5);
    let mut network = Network::<B>::new(3);
    let still = network.clone();
    for index in 0..STEPS {
        match index {
            0..4 => optim.set_auxiliary_lr(own(index)),
            _ => optim.set_auxiliary_lr_factor(0.5),
        }
        .expect("it is allowed");
        let grads = gradients(&still, images(index, 5));
        network = optim.step(LR, network, grads);
    }
    assert_eq!(same(&values(&network), &expected), NORM);
    assert_eq!(same(&values(&network), &by_mac), all_but(&NORM));
    optim.set_auxiliary_lr(0.25).expect("it is allowed");
    let report = optim.report(&network).to_string();
    assert!(report.contains("learning rate 0.25"), "{report}");
    let loaded = both(config(), 0.5).load_record(optim.to_record());
    let report = loaded.report(&network).to_string();
    assert!(report.contains("learning rate times 0.5"), "{report}");

    for lr in [-1.0, f64::NAN, f64::INFINITY] {
        let error = optim.set_auxiliary_lr(lr).expect_err("it is not allowed");
        let named = matches!(&error, MacError::InvalidConfig { field: "lr", .. });
        assert!(named, "{error}");
    }
    let mut mac = config().init::<B, Network<B>>();
    assert_eq!(
        mac.set_auxiliary_lr(0.1),
        Err(MacError::NoAuxiliaryOptimizer)
    );
}

#[test]
fn a_factor_that_is_not_allowed_is_named_and_changes_nothing() {
    for (factor, text) in [
        (0.0, "0"),
        (-1.0, "-1"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
    ] {
        let made = config()
            .init::<B, Network<B>>()
            .with_auxiliary_optimizer(adamw().init(), factor);
        let expected = MacError::InvalidConfig {
            field: "lr_factor",
            value: text.into(),
            allowed: "finite and above 0",
        };
        assert_eq!(made.err(), Some(expected.clone()));

        let mut optim = both(config(), 0.5);
        assert_eq!(optim.set_auxiliary_lr_factor(factor), Err(expected));
        assert_eq!(optim.to_record().auxiliary_lr_factor, Some(0.5));
    }
    let mut mac = config().init::<B, Network<B>>();
    assert_eq!(
        mac.set_auxiliary_lr_factor(1.0),
        Err(MacError::NoAuxiliaryOptimizer)
    );
}

/// Breaks when the clipping of MAC's configuration, or that of the auxiliary optimizer, does not reach
/// its gradients.
#[test]
fn gradients_are_clipped_by_either_configuration() {
    let clipping = || Some(GradientClippingConfig::Value(1e-3));
    let expected = stepped(adamw().with_grad_clipping(clipping()).init(), |_| LR);
    let by_mac = both(config().with_gradient_clipping(clipping()), 1.0);
    let by_adamw = config()
        .init()
        .with_auxiliary_optimizer(adamw().with_grad_clipping(clipping()).init(), 1.0)
        .expect("the factor is allowed");
    for optim in [by_mac, by_adamw] {
        assert_eq!(same(&stepped(optim, |_| LR), &expected), NORM);
    }
    let unclipped = stepped(both(config(), 1.0), |_| LR);
    assert!(same(&unclipped, &expected).is_empty());
}

/// Breaks when the auxiliary optimizer gets the gradients of one device.
#[test]
fn several_devices_are_one_step_with_the_sum_of_their_gradients() {
    let network = || {
        let network = Network::<B>::new(4);
        let parts = [(0, 3), (1, 4)].map(|(index, size)| gradients(&network, images(index, size)));
        (network, parts)
    };
    let (single, parts) = network();
    let mut sum = GradientsAccumulator::new();
    for part in parts {
        sum.accumulate(&single, part);
    }
    let single = both(config(), 0.5).step(LR, single, sum.grads());

    let (multi, parts) = network();
    let device = burn_flex::FlexDevice.id();
    let grads = MultiGradientsParams {
        grads: parts.map(|part| (part, device)).into(),
    };
    let multi = both(config(), 0.5).step_multi(LR, multi, grads);
    assert_eq!(values(&multi), values(&single));
}

/// Replaces a gradient.
fn replace<const D: usize>(
    mut grads: GradientsParams,
    id: ParamId,
    with: impl Fn(Tensor<Inner, D>) -> Tensor<Inner, D>,
) -> GradientsParams {
    let grad = grads.remove(id).expect("it has a gradient");
    grads.register(id, with(grad));
    grads
}

fn first_element<const D: usize>(grad: Tensor<Inner, D>, value: f32) -> Tensor<Inner, D> {
    let at = Tensor::<Inner, 1>::from_data(TensorData::from([value]), &grad.device());
    grad.slice_assign([0; D].map(|_| 0..1), at.reshape([1; D]))
}

/// A run of so many steps, in which the gradients of `norm.gamma` and `hidden.weight` are changed at one.
fn changed_at(broken: u64, steps: u64, guard: bool, value: Option<f32>) -> Vec<Vec<f64>> {
    let config = config()
        .with_skip_layers(vec!["hidden".into()])
        .with_guard_gradients(guard);
    // Weight decay moves a parameter even if its gradient is zero.
    let adamw = adamw().with_weight_decay(0.0).init();
    let mut optim = config
        .init()
        .with_auxiliary_optimizer(adamw, 0.5)
        .expect("the factor is allowed");
    let change = |index, network: &Network<B>, grads| {
        if index != broken {
            return grads;
        }
        let (gamma, hidden) = (network.norm.gamma.id, network.hidden.weight.id);
        match value {
            Some(value) => {
                let grads = replace::<1>(grads, gamma, |grad| first_element(grad, value));
                replace::<2>(grads, hidden, |grad| first_element(grad, value))
            }
            None => {
                let grads = replace::<1>(grads, gamma, |grad| grad.zeros_like());
                replace::<2>(grads, hidden, |grad| grad.zeros_like())
            }
        }
    };
    take(steps, &mut optim, Network::new(3), |_| LR, change)
}

/// A gradient that is not finite in the second step of two: the parameter stays where the first took it.
/// Breaks when the broken gradient reaches the auxiliary optimizer, or AdamW's average of the first step
/// moves the parameter.
#[test]
fn a_parameter_whose_gradient_is_broken_keeps_its_value() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let before = changed_at(STEPS, 1, true, None);
        let after = changed_at(1, 2, true, Some(value));
        for index in [GAMMA, HIDDEN] {
            assert_eq!(after[index], before[index]);
        }
        assert_ne!(after[0], before[0], "the others move");
    }
}

/// Breaks when the averages of the auxiliary optimizer take anything but zeros for a broken gradient.
#[test]
fn training_goes_on_after_a_broken_gradient() {
    let zeros = changed_at(0, STEPS, true, None);
    assert_ne!(
        zeros[GAMMA],
        changed_at(STEPS, STEPS, true, None)[GAMMA],
        "the gradient matters"
    );
    // In the first step a gradient of zeros leaves the parameter where it is as well.
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(changed_at(0, STEPS, true, Some(value)), zeros);
    }
    let found = changed_at(3, STEPS, true, Some(f32::NAN));
    assert!(found.iter().flatten().all(|value| value.is_finite()));
    assert_ne!(found[GAMMA], changed_at(3, 4, true, Some(f32::NAN))[GAMMA]);
}

#[test]
fn without_the_guard_a_broken_gradient_breaks_its_parameter() {
    let found = changed_at(3, STEPS, false, Some(f32::NAN));
    for index in [GAMMA, HIDDEN] {
        assert!(found[index].iter().any(|value| value.is_nan()));
    }
}

#[test]
fn the_guard_changes_no_good_step() {
    assert_eq!(
        changed_at(STEPS, STEPS, true, None),
        changed_at(STEPS, STEPS, false, None)
    );
}

#[test]
fn the_report_says_what_the_auxiliary_optimizer_steps() {
    let mut optim = both(config().with_skip_layers(vec!["hidden".into()]), 0.5);
    let network = train(Network::<B>::new(3), &mut optim, 0..2);
    let report = optim.report(&network);
    let second = report
        .auxiliary_optimizer
        .as_ref()
        .expect("there is an auxiliary optimizer");
    // Running statistics are of no layer with a recorder either, but they are not trained.
    assert_eq!(second.paths, ["norm.gamma", "norm.beta", "hidden.weight"]);
    assert_eq!((second.parameters, second.lr_factor), (3 + 3 + 288, 0.5));
    // conv 27 + 3 and output 12 + 2
    assert_eq!(report.momentum_bytes, 44 * 4);
    let text = report.to_string();
    let line =
        "294 parameters stepped by the auxiliary optimizer, learning rate times 0.5 (87.0 %)";
    assert!(text.contains(line), "{text}");

    let mut mac = config().init();
    let network = train(Network::<B>::new(3), &mut mac, 0..1);
    assert!(mac.report(&network).auxiliary_optimizer.is_none());
}
