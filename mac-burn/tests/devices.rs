//! What happens on the devices: nothing is read from them in a step, and each keeps its own sums.

#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;
mod support;

use burn::backend::Autodiff;
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::DeviceOps;
use counting::{Counting, Numbered, operations, reads};
use mac_burn::{InputCovariance, Mac, MacConfig};
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{Network, gradients, images, values};

type B = Autodiff<Counting>;

/// The counts are of the whole process, so the tests take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn optimizer(network: &Network<B>, guard: bool) -> Mac<Network<B>, B> {
    let mut covariance = InputCovariance::of(&network.conv);
    covariance.update(images::<B>(100, 4));
    MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_weight_decay(1e-3)
        .with_no_decay_norms_and_biases(true)
        .with_guard_gradients(guard)
        .init()
        .with_input_covariance(&covariance)
        .expect("the covariance is regular")
}

/// What eight steps read and hand to the device.
fn counted<O: Optimizer<Network<B>, B>>(mut network: Network<B>, mut optim: O) -> (usize, usize) {
    let batches: Vec<_> = (0..8).map(|index| images::<B>(index, 4)).collect();
    let before = (reads(), operations());
    for batch in batches {
        let grads = gradients(&network, batch);
        network = optim.step(0.05, network, grads);
    }
    (reads() - before.0, operations() - before.1)
}

/// Breaks when anything in recording, preconditioning or stepping waits for the device.
#[test]
fn a_step_reads_nothing() {
    let _alone = alone();
    for guard in [false, true] {
        let network = Network::<B>::new(1);
        let optim = optimizer(&network, guard);
        let (reads, operations) = counted(network, optim);
        assert!(operations > 8 * 50);
        assert_eq!(reads, 0, "with guard {guard}");
    }
}

#[test]
fn a_step_with_a_second_optimizer_reads_nothing() {
    let _alone = alone();
    for guard in [false, true] {
        let network = Network::<B>::new(1);
        let optim = optimizer(&network, guard)
            .with_second_optimizer(AdamWConfig::new().init(), 0.5)
            .expect("the factor is allowed");
        let (reads, operations) = counted(network, optim);
        assert!(operations > 8 * 50);
        assert_eq!(reads, 0, "with guard {guard}");
    }
}

/// The count above would see a read: a loss that is printed is one.
#[test]
fn a_read_is_counted() {
    let _alone = alone();
    let before = reads();
    Tensor::<B, 1>::ones([3], &Numbered(0)).sum().into_scalar();
    assert_eq!(reads(), before + 1);
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

/// Breaks when a step takes what another device recorded, or `step_multi` leaves a device out.
#[test]
fn a_step_takes_its_own_devices_sums_and_a_multi_step_all() {
    let _alone = alone();
    let (left, right) = (Numbered(0), Numbered(1));
    let alone = |index| {
        recorded(move |optim, network| {
            let grads = gradients(&network, images(index, 3));
            optim.step(0.0, network, grads)
        })
    };
    let (first, second) = (alone(0), alone(1));

    let own = recorded(|optim, network| {
        let grads = forked_gradients(&network, left, 0);
        forked_gradients(&network, right, 1);
        optim.step(0.0, network, grads)
    });
    assert_eq!(own, first);
    assert_ne!(own, second);

    let both = recorded(|optim, network| {
        let grads = [(left, 0), (right, 1)]
            .map(|(device, index)| (forked_gradients(&network, device, index), device.id()));
        let grads = MultiGradientsParams {
            grads: grads.into_iter().collect(),
        };
        optim.step_multi(0.0, network, grads)
    });
    for ((both, first), second) in both.iter().zip(first).zip(second) {
        assert!((both - (first + second) / 2.0).abs() < 1e-6);
    }
}

/// Breaks when statistics or the state of the second optimizer stay behind while a model moves.
#[test]
fn a_model_that_moves_takes_its_optimizer_along() {
    let _alone = alone();
    let run = |moves: bool| {
        let mut network = Network::<B>::new(1);
        let mut optim = optimizer(&network, true)
            .with_second_optimizer(AdamWConfig::new().init(), 0.5)
            .expect("the factor is allowed");
        for index in 0..6 {
            let device = Numbered(if moves && index >= 3 { 1 } else { 0 });
            network = network.fork(&device);
            let grads = gradients(&network, images::<B>(index, 4).to_device(&device));
            network = optim.step(0.05, network, grads);
        }
        values(&network)
    };
    assert_eq!(run(true), run(false));
}
