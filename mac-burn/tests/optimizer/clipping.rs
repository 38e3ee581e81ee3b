//! The norm of all gradients together is limited, before they are preconditioned and after.

use crate::support::{B, Network, difference, gradients, images, values};
use burn::backend::Autodiff;
use burn::grad_clipping::{GradientClipping, GradientClippingConfig};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer, SgdConfig};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use mac_burn::MacConfig;

type Inner = <B as AutodiffBackend>::InnerBackend;

const STEPS: u64 = 6;
/// Norms are about 80, so that a step changes values of about 1 by less than 0.1.
const LR: f64 = 1e-3;

/// Limits that some of the steps meet and some do not.
const BEFORE: f64 = 75.0;
const AFTER: f64 = 25.0;

/// Values of about 1 after so many steps in `f32`, with norms and factors that were rounded on the host or on the device: a few
/// roundings of 6e-8. What is left out of a norm, or scaled at the wrong place, shows at 1e-4 and more.
const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;

/// Recording every second step and refreshing every third, with settings that all have a part in a step.
fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_weight_decay(1e-2)
}

/// The sum of the squares of all gradients of a network, in `f64` on the host.
struct SquaredNorm<'a>(&'a GradientsParams, f64);

impl ModuleVisitor<B> for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.0.get::<Inner, D>(param.id) {
            let squares = grad.into_data();
            self.1 += squares
                .iter::<f64>()
                .map(|value| value * value)
                .sum::<f64>();
        }
    }
}

struct Scaled<'a>(&'a mut GradientsParams, f64);

impl ModuleVisitor<B> for Scaled<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.0.remove::<Inner, D>(param.id) {
            self.0.register(param.id, grad.mul_scalar(self.1));
        }
    }
}

/// `g ← g · min(1, limit / (‖g‖ + 1e-6))` over all gradients of a network. Returns the factor.
fn clip(network: &Network<B>, grads: &mut GradientsParams, limit: f64) -> f64 {
    let mut norm = SquaredNorm(grads, 0.0);
    network.visit(&mut norm);
    let factor = (limit / (norm.1.sqrt() + 1e-6)).min(1.0);
    network.visit(&mut Scaled(grads, factor));
    factor
}

/// The treatment of gradients before they are preconditioned.
#[derive(Debug, Clone)]
enum Before {
    Nothing,
    /// Their norm is limited.
    Norm(f64),
    /// Burn clips each of them.
    Each(GradientClippingConfig),
}

#[derive(Debug, Clone)]
struct Limits {
    before: Before,
    /// The limit of their norm after they were preconditioned.
    after: Option<f64>,
}

struct Clipped<'a>(&'a mut GradientsParams, GradientClipping);

impl ModuleVisitor<B> for Clipped<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.0.remove::<Inner, D>(param.id) {
            self.0.register(param.id, self.1.clip_gradient(grad));
        }
    }
}

impl Limits {
    fn config(&self) -> MacConfig {
        let config = config().with_max_preconditioned_norm(self.after);
        match &self.before {
            Before::Nothing => config,
            Before::Norm(limit) => config.with_max_grad_norm(Some(*limit)),
            Before::Each(clipping) => config.with_gradient_clipping(Some(clipping.clone())),
        }
    }

    /// The values after a run whose gradients are clipped on the host, and the factors of its steps. `rest` is what an optimizer
    /// does after it has preconditioned.
    fn on_the_host<O: Optimizer<Network<B>, B>>(&self, mut rest: O) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut preconditioner = config().init_preconditioner();
        let mut network = Network::new(3);
        let mut factors = Vec::new();
        for index in 0..STEPS {
            let mut grads = gradients(&network, images(index, 5));
            match &self.before {
                Before::Nothing => {}
                Before::Norm(limit) => factors.push(clip(&network, &mut grads, *limit)),
                Before::Each(each) => network.visit(&mut Clipped(&mut grads, each.init())),
            }
            let mut grads = preconditioner.precondition(&network, grads);
            factors.extend(self.after.map(|limit| clip(&network, &mut grads, limit)));
            network = rest.step(LR, network, grads);
        }
        (values(&network), factors)
    }
}

fn run<O: Optimizer<Network<B>, B>>(mut optim: O) -> Vec<Vec<f64>> {
    let steps = (0..STEPS).fold(Network::new(3), |network, index| {
        let grads = gradients(&network, images(index, 5));
        optim.step(LR, network, grads)
    });
    values(&steps)
}

/// Runs with limits against runs that are clipped on the host, with an auxiliary optimizer and without. Its step is linear in
/// the gradient: one that is scaled wrongly shows.
fn check_limits(limits: &Limits) {
    let momentum_sgd = || config().with_damping(f64::INFINITY).init();
    let sgd = || SgdConfig::new().init();

    let (expected, factors) = limits.on_the_host(momentum_sgd());
    let clipped = factors.iter().filter(|factor| **factor < 0.9).count();
    assert!(clipped > 0 && clipped < factors.len(), "{factors:?}");
    assert_close(&run(limits.config().init()), &expected);

    let both = momentum_sgd().with_auxiliary_optimizer(sgd(), 0.5);
    let (expected, _) = limits.on_the_host(both.expect("the factor is allowed"));
    let both = limits.config().init().with_auxiliary_optimizer(sgd(), 0.5);
    assert_close(&run(both.expect("the factor is allowed")), &expected);
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>]) {
    let difference = difference(found, expected);
    assert!(difference <= ROUNDING, "they differ by {difference:e}");
}

/// Breaks when a parameter is left out of the norm or is not scaled, or gradients are scaled by their layer.
#[test]
fn gradients_are_scaled_to_a_limit_before_they_are_preconditioned() {
    check_limits(&Limits {
        before: Before::Norm(BEFORE),
        after: None,
    });
}

/// Breaks when the norm is that of gradients before they were preconditioned.
#[test]
fn gradients_are_scaled_to_a_limit_after_they_were_preconditioned() {
    check_limits(&Limits {
        before: Before::Nothing,
        after: Some(AFTER),
    });
}

/// Breaks when one limit takes the place of the other, or the second is of gradients that the first has not scaled yet.
#[test]
fn both_limits_hold_in_one_step() {
    check_limits(&Limits {
        before: Before::Norm(BEFORE),
        after: Some(AFTER * 0.8),
    });
}

/// Breaks when the limit is of gradients that Burn has not clipped yet.
#[test]
fn a_limit_after_preconditioning_goes_with_clipping_of_each_gradient() {
    check_limits(&Limits {
        before: Before::Each(GradientClippingConfig::Norm(20.0)),
        after: Some(AFTER * 0.8),
    });
}

/// Breaks when gradients within the limit are brought to it, or a factor of 1 is no factor of 1.
#[test]
fn a_limit_that_no_norm_meets_changes_no_bit() {
    let unlimited = run(config().init());
    for limit in [1e3, f64::INFINITY] {
        let limits = Limits {
            before: Before::Norm(limit),
            after: Some(limit),
        };
        assert_eq!(run(limits.config().init()), unlimited);
    }
}

fn break_gradient<const D: usize>(grads: &mut GradientsParams, id: ParamId, value: f32) {
    let grad: Tensor<Inner, D> = grads.remove(id).expect("it has a gradient");
    let at = Tensor::<Inner, 1>::from_data(TensorData::from([value]), &grad.device());
    let grad = grad.slice_assign([0; D].map(|_| 0..1), at.reshape([1; D]));
    grads.register(id, grad);
}

/// Small enough that the gradients meet them in the first step without what is broken in it, too.
fn small_limits() -> [Limits; 3] {
    let (before, after) = (|| Before::Norm(0.05), Some(0.02));
    [
        (before(), None),
        (Before::Nothing, after),
        (before(), after),
    ]
    .map(|(before, after)| Limits { before, after })
}

/// Breaks when a broken gradient counts in the norm: one NaN would be that of all gradients. A step without the broken
/// gradients is the same to all others, and what is broken keeps its value.
#[test]
fn with_the_guard_one_broken_gradient_does_not_spoil_the_others() {
    for limits in small_limits() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for auxiliary in [false, true] {
                let run = |broken: bool| {
                    let config = limits.config().with_guard_gradients(true);
                    let network = Network::<B>::new(1);
                    let mut grads = gradients(&network, images(0, 5));
                    let (hidden, gamma) = (network.hidden.weight.id, network.norm.gamma.id);
                    if broken {
                        break_gradient::<2>(&mut grads, hidden, value);
                        break_gradient::<1>(&mut grads, gamma, value);
                    } else {
                        grads.remove::<Inner, 2>(hidden).expect("it has one");
                        grads.remove::<Inner, 1>(gamma).expect("it has one");
                    }
                    values(&if auxiliary {
                        // Weight decay would move a parameter whose gradient is zero.
                        let adamw = AdamWConfig::new().with_weight_decay(0.0).init();
                        let both = config.init().with_auxiliary_optimizer(adamw, 0.5);
                        both.expect("the factor is allowed")
                            .step(LR, network, grads)
                    } else {
                        config.init().step(LR, network, grads)
                    })
                };
                let (found, expected) = (run(true), run(false));
                assert_eq!(found, expected, "{limits:?}, {value}, {auxiliary}");
                assert_ne!(found, values(&Network::<B>::new(1)));
            }
        }
    }
}

/// The purpose of the guard: the norm of all gradients is NaN without it.
#[test]
fn without_the_guard_a_broken_gradient_breaks_all() {
    for limits in small_limits() {
        let network = Network::<B>::new(1);
        let mut grads = gradients(&network, images(0, 5));
        break_gradient::<2>(&mut grads, network.hidden.weight.id, f32::NAN);
        let mut stepped = values(&limits.config().init().step(LR, network, grads));
        // Running statistics have no gradient.
        stepped.drain(4..6);
        assert!(stepped.iter().flatten().all(|value| value.is_nan()));
    }
}

/// Breaks when squares are added up in half precision, where the sum is infinite: the gradient would be clipped to 0. All
/// numbers are powers of two, so that the step is exact.
#[test]
fn a_large_norm_in_half_precision_is_scaled_to_the_limit() {
    type Half = Autodiff<burn_flex::Flex>;
    const SIDE: usize = 256;
    let norm = Some(SIDE as f64);
    for config in [
        MacConfig::new().with_max_grad_norm(norm),
        MacConfig::new().with_max_preconditioned_norm(norm),
    ] {
        let device = Default::default();
        let ones = Tensor::<burn_flex::Flex, 2>::ones([SIDE, SIDE], (&device, DType::F16));
        let mut layer: Linear<Half> = LinearConfig::new(SIDE, SIDE).with_bias(false).init(&device);
        layer.weight = Param::from_tensor(Tensor::from_inner(ones.clone()));
        let mut grads = GradientsParams::new();
        grads.register(layer.weight.id, ones.mul_scalar(64.0));
        let layer = config.init().step(0.5, layer, grads);
        let stepped = layer.weight.val().into_data();
        assert!(stepped.iter::<f64>().all(|value| value == 0.5));
    }
}
