//! Several devices: their sums add up, and state follows the model.

#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;
mod support;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ParamId};
use burn::nn::LinearConfig;
use burn::nn::conv::Conv2dConfig;
use burn::optim::{AdamWConfig, GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, DeviceOps};
use counting::{Counting, CountingCuda, CountingFusion, Numbered, alone, elements};
use mac_burn::{
    EvaConfig, FoofConfig, InputCurvature, KfacConfig, Mac, MacConfig, MacConv2d, MacLinear,
    MacSelfAttention, SelfAttentionConfig, SmacConfig, StepForm,
};
use std::slice::from_ref;
use support::{Network, busy_optimizer, difference, gradients, images, random, values};

type B = Autodiff<Counting>;

fn optimizer<B: AutodiffBackend>(network: &Network<B>, guard: bool) -> Mac<Network<B>, B> {
    busy_optimizer(&network.conv, images(100, 4), guard)
}

/// The mean that one recorded batch leaves, with a decay of 0 and steps of `record`.
fn recorded(step: impl FnOnce(&mut Mac<Network<B>, B>, Network<B>) -> Network<B>) -> Vec<f64> {
    let network = Network::<B>::new(1);
    let config = MacConfig::new()
        .with_stat_decay(0.0)
        .with_tcov(1)
        .with_tinv(1);
    let mut optim = config.init();
    let network = step(&mut optim, network);
    let mean = optim
        .preconditioner()
        .activation_ema(network.hidden.weight.id);
    mean.expect("it recorded").into_data().iter().collect()
}

fn forked_gradients(network: &Network<B>, device: Numbered, index: u64) -> GradientsParams {
    let fork = network.clone().fork(&device);
    gradients(&fork, images::<B>(index, 3).to_device(&device))
}

/// Breaks when a step leaves out what a fork on another device saw, or `step_multi` does: Burn's two ways to train on
/// several devices.
#[test]
fn a_step_and_a_multi_step_take_the_sums_of_all_devices() {
    let _alone = alone();
    let (left, right) = (Numbered(0), Numbered(1));
    let alone = |index| {
        recorded(move |optim, network| {
            let grads = gradients(&network, images(index, 3));
            optim.step(0.0, network, grads)
        })
    };
    let (first, second) = (alone(0), alone(1));
    assert_ne!(first, second);

    let main_device = recorded(|optim, network| {
        let grads = forked_gradients(&network, left, 0);
        drop(forked_gradients(&network, right, 1));
        optim.step(0.0, network, grads)
    });
    let sharded = recorded(|optim, network| {
        let grads = [(left, 0), (right, 1)]
            .map(|(device, index)| (forked_gradients(&network, device, index), device.id()));
        let grads = MultiGradientsParams {
            grads: grads.into_iter().collect(),
        };
        optim.step_multi(0.0, network, grads)
    });
    for both in [main_device, sharded] {
        for ((both, first), second) in both.iter().zip(&first).zip(&second) {
            assert!((both - (first + second) / 2.0).abs() < 1e-6);
        }
    }
}

/// Breaks when statistics or the state of the auxiliary optimizer stay behind while a model moves. Returns the parameters.
fn check_moves<B: AutodiffBackend<Device = Numbered>>(
    optimizer: impl Fn(&Network<B>) -> Mac<Network<B>, B>,
) -> Vec<Vec<f64>> {
    let _alone = alone();
    let run = |moves: bool| {
        let mut network = Network::<B>::new(1);
        let mut optim = optimizer(&network)
            .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.5)
            .expect("the factor is allowed");
        for index in 0..6 {
            let device = Numbered(if moves && index >= 3 { 1 } else { 0 });
            network = network.fork(&device);
            let grads = gradients(&network, images::<B>(index, 4).to_device(&device));
            network = optim.step(0.05, network, grads);
        }
        values(&network)
    };
    let found = run(true);
    assert_eq!(found, run(false));
    found
}

#[test]
fn a_model_that_moves_takes_its_optimizer_along() {
    check_moves::<Autodiff<Counting>>(|network| optimizer(network, true));
}

/// There the statistics in use are kept in other shapes.
#[test]
fn it_does_so_where_the_backend_fuses() {
    check_moves::<Autodiff<CountingFusion>>(|network| optimizer(network, true));
    check_moves::<Autodiff<CountingCuda>>(|network| optimizer(network, true));
}

/// Largest difference of a parameter on backends of other types: 2.4e-7 is measured.
const SAME_STEPS: f64 = 1e-6;

/// The bias in front of the norm, and the norm's running mean: the bias's gradient is rounding, which a step of known length makes as long as any other.
const IN_FRONT_OF_NORM: [usize; 2] = [1, 4];

/// Refreshed on the first device for all steps on the second; by the operations of each type of backend, which make the same.
#[test]
fn it_does_so_with_each_form_and_curvature() {
    for form in [
        StepForm::Momentum,
        StepForm::Normalized,
        StepForm::Orthogonal { iterations: 2 },
    ] {
        let config = MacConfig::new()
            .with_curvature(InputCurvature::MeanVariance)
            .with_step(form)
            .with_tcov(2)
            .with_guard_gradients(true);
        let expected = check_moves::<Autodiff<Counting>>(|_| config.init());
        for found in [
            check_moves::<Autodiff<CountingFusion>>(|_| config.init()),
            check_moves::<Autodiff<CountingCuda>>(|_| config.init()),
        ] {
            let differences = found.iter().zip(&expected).enumerate();
            let differences = differences.filter(|(index, _)| !IN_FRONT_OF_NORM.contains(index));
            for (index, (found, expected)) in differences {
                let difference = difference(from_ref(found), from_ref(expected));
                assert!(difference <= SAME_STEPS, "{form:?}: {index} {difference:e}");
            }
        }
    }
}

/// Breaks when an average stays on the device that it was begun on, or an inverse does.
#[test]
fn it_does_so_with_the_other_curvatures() {
    fn check<B: AutodiffBackend<Device = Numbered>>() {
        let mac = MacConfig::new().with_tcov(2).with_tinv(4);
        check_moves::<B>(|_| SmacConfig::new().with_settings_of(&mac).init());
        check_moves::<B>(|_| FoofConfig::new().with_settings_of(&mac).init());
        check_moves::<B>(|_| EvaConfig::new().with_settings_of(&mac).init());
        check_moves::<B>(|_| KfacConfig::new().with_settings_of(&mac).init());
    }
    check::<Autodiff<Counting>>();
    check::<Autodiff<CountingFusion>>();
    check::<Autodiff<CountingCuda>>();
}

/// The network's gradients of two devices. That of the norm's gamma is broken on the first device, that of its
/// beta on the second. Burn chooses by a parameter's id and by the order of the devices where the two are added
/// up and the parameter is stepped.
fn broken_on_each(network: &Network<B>, order: [u16; 2]) -> MultiGradientsParams {
    let of_device = |index: u16| {
        let device = Numbered(index);
        let mut grads = forked_gradients(network, device, index.into());
        let broken = [network.norm.gamma.id, network.norm.beta.id][usize::from(index)];
        break_gradient(&mut grads, broken);
        (grads, device.id())
    };
    MultiGradientsParams {
        grads: order.map(of_device).into_iter().collect(),
    }
}

fn break_gradient(grads: &mut GradientsParams, id: ParamId) {
    let grad: Tensor<Counting, 1> = grads.remove(id).expect("it has a gradient");
    grads.register(id, grad * f32::NAN);
}

fn good_on_each(network: &Network<B>, order: [u16; 2]) -> MultiGradientsParams {
    let of_device = |index: u16| {
        let device = Numbered(index);
        (
            forked_gradients(network, device, 2 + u64::from(index)),
            device.id(),
        )
    };
    MultiGradientsParams {
        grads: order.map(of_device).into_iter().collect(),
    }
}

/// Breaks when values that are put back stay on another device than the parameter, which a step moves to the
/// device of its gradient. In one of the two orders each parameter moves; which one depends on its id, so both
/// orders have the same ids.
#[test]
fn what_is_broken_on_any_device_is_kept_from_an_auxiliary_optimizer() {
    let _alone = alone();
    let (made, mut moved) = (Network::<B>::new(1), 0);
    for order in [[0, 1], [1, 0]] {
        let network = made.clone();
        let mut optim = optimizer(&network, true)
            .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.5)
            .expect("the factor is allowed");
        let before = values(&network);
        let grads = broken_on_each(&network, order);
        let network = optim.step_multi(0.05, network, grads);
        let devices = [&network.norm.gamma, &network.norm.beta].map(|param| param.val().device());
        moved += devices.iter().filter(|on| **on == Numbered(1)).count();
        let after = values(&network);
        // Gamma and beta of the norm are at 2 and 3, its running statistics at 4 and 5.
        for index in [0, 1, 2, 3, 6, 7, 8] {
            let kept = before[index] == after[index];
            assert_eq!(kept, [2, 3].contains(&index), "{index}, {order:?}");
        }

        let grads = good_on_each(&network, order);
        let later = values(&optim.step_multi(0.05, network, grads));
        for index in [2, 3] {
            assert!(later[index].iter().all(|value| value.is_finite()));
            assert_ne!(later[index], after[index], "{index}, {order:?}");
        }
    }
    assert_eq!(moved, 2);
}

/// Breaks when the report counts what is not kept, or leaves out what is.
fn check_bytes<M: AutodiffModule<B>, const D: usize>(
    module: &M,
    forward: impl Fn(&M) -> Tensor<B, D>,
) {
    let mut preconditioner = MacConfig::new().init_preconditioner::<B>();
    let grads = GradientsParams::from_grads(forward(module).sum().backward(), module);
    drop(preconditioner.precondition(module, grads));
    let bytes = preconditioner.report(module).statistics_bytes;
    let with_statistics = elements();
    drop(preconditioner);
    let kept = with_statistics - elements();
    assert!(kept > 0);
    assert_eq!(bytes, 4 * kept);
}

#[test]
fn the_report_tells_what_a_device_keeps() {
    let _alone = alone();
    let device = Numbered(0);
    let linear: MacLinear<B> = LinearConfig::new(6, 2).init(&device).into();
    check_bytes(&linear, |linear| linear.forward(random::<B, 2>([3, 6], 1)));
    let conv = Conv2dConfig::new([4, 6], [3, 3]).with_groups(2);
    let conv: MacConv2d<B> = conv.init(&device).into();
    let image = || random::<B, 4>([2, 4, 5, 5], 2);
    check_bytes(&conv, |conv| conv.forward(image()));
    let attention: MacSelfAttention<B> = SelfAttentionConfig::new(8, 2).init(&device).into();
    let tokens = || random::<B, 3>([2, 5, 8], 3);
    check_bytes(&attention, |attention| attention.forward(tokens(), None));
}
