//! Recorders record the passes that are wanted and no others: what a pass records is told by the operations that it hands to
//! the device beyond those of the same layers without recorders.
//!
//! One test in a process of its own: operations are counted for the process, and while any of its optimizers has yet to take
//! its first step, all recorders record.

#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;
#[path = "support/small.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared by tests")]
mod small;
mod support;

use burn::backend::Autodiff;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use counting::{Counting, Numbered, operations};
use mac_burn::{InputCovariance, unrecorded, without_recording};
use small::{LR, Optim, Saved, Small, batch, config, groups, optimizer, train, two_optimizers};
use std::ops::Range;

type B = Autodiff<Counting>;

const TCOV: u64 = 5;
const STEPS: u64 = 2 * TCOV + 1;

#[test]
fn recorders_record_what_is_wanted() {
    a_lone_optimizer_has_its_due_passes();
    so_have_all_devices();
    so_has_each_of_two_optimizers();
    so_has_each_of_two_optimizers_over_the_same_layers();
    an_optimizer_before_its_first_step_has_all_passes();
    a_loaded_record_keeps_its_schedule();
    a_layer_without_a_mean_has_its_next_pass();
    layers_that_take_no_mean_are_not_recorded();
    passes_without_recording_are_not();
}

/// The operations of a forward and a backward pass, and the gradients.
fn operations_of(network: &Small<B>, step: u64) -> (usize, GradientsParams) {
    let images = batch(0, step, &network.device());
    let before = operations();
    let grads = network.gradients(images);
    (operations() - before, grads)
}

/// The operations of the recording, and the gradients.
fn recording(network: &Small<B>, step: u64) -> (usize, GradientsParams) {
    let (plain, _) = operations_of(&unrecorded(network.clone()), step);
    let (all, grads) = operations_of(network, step);
    (all - plain, grads)
}

/// Trains and returns the steps whose passes were recorded as well.
fn recorded_steps(
    mut network: Small<B>,
    optim: &mut Optim<B>,
    steps: Range<u64>,
) -> (Small<B>, Vec<u64>) {
    let mut recorded = Vec::new();
    for step in steps {
        let (operations, grads) = recording(&network, step);
        recorded.extend((operations > 0).then_some(step));
        network = optim.step(LR, network, grads);
    }
    (network, recorded)
}

/// Breaks when a recorder records a pass that no optimizer takes, or misses one that is due.
fn a_lone_optimizer_has_its_due_passes() {
    let mut optim = optimizer();
    let (network, recorded) = recorded_steps(Small::new(), &mut optim, 0..STEPS);
    assert_eq!(recorded, [0, TCOV, 2 * TCOV]);
    let layers = optim.report(&network).layers;
    assert!(layers.iter().all(|layer| layer.updates == 3));
}

/// Breaks when the forks of Burn's `OptimMainDevice` record what no step takes.
fn so_have_all_devices() {
    let (mut network, mut optim) = (Small::<B>::new(), optimizer());
    for step in 0..STEPS {
        let mut accumulator = GradientsAccumulator::new();
        for device in [0, 1].map(Numbered) {
            let (operations, grads) = recording(&network.clone().fork(&device), step);
            assert_eq!(operations > 0, step % TCOV == 0, "step {step}, {device:?}");
            accumulator.accumulate(&network, grads.to_device(&Numbered(0), &network));
        }
        network = optim.step(LR, network.clone(), accumulator.grads());
    }
}

/// Breaks when one of two optimizers over one model has the other's passes recorded as well.
fn so_has_each_of_two_optimizers() {
    let (mut network, mut optims) = (Small::<B>::new(), two_optimizers(false));
    let mut counts = Vec::new();
    for step in 0..STEPS {
        let (operations, _) = recording(&network, step);
        counts.push(operations);
        let mut grads = network.loss(batch(0, step, &network.device())).backward();
        let grads = groups(&network)
            .map(|group| GradientsParams::from_params(&mut grads, &network, &group));
        for (optim, grads) in optims.iter_mut().zip(grads) {
            network = optim.step(LR, network, grads);
        }
    }
    // The first has every fifth pass, the second every third. In the first pass, a convolution also makes what it sums with.
    let (of_first, of_second) = (counts[5], counts[3]);
    assert!(of_first > 0 && of_second > 0 && counts[0] >= of_first + of_second);
    let expected = (1..STEPS).map(|step| {
        let due = |every| usize::from(step % every == 0);
        due(5) * of_first + due(3) * of_second
    });
    assert_eq!(counts[1..], expected.collect::<Vec<_>>());
}

/// Breaks when a step of one optimizer ends what another wants of the same layers.
fn so_has_each_of_two_optimizers_over_the_same_layers() {
    let (mut first, mut second) = (optimizer(), optimizer());
    let network = train(Small::<B>::new(), &mut first, 0, 0..TCOV);
    let network = train(network, &mut second, 0, 0..2);
    // The first's next step is due, the second's is not.
    assert!(recording(&network, 2).0 > 0);
    drop(first);
    assert_eq!(recording(&network, 2).0, 0);
}

/// Breaks when an optimizer that was not there yet at a pass could miss it, or one that is gone has passes recorded.
fn an_optimizer_before_its_first_step_has_all_passes() {
    let mut optim = optimizer();
    let network = train(Small::<B>::new(), &mut optim, 0, 0..2);
    let is_recorded = || recording(&network, 2).0 > 0;
    assert!(!is_recorded());
    let new = optimizer::<B>();
    assert!(is_recorded());
    let clone = optim.clone();
    drop(new);
    assert!(is_recorded());
    drop(clone);
    assert!(!is_recorded());
    drop(optim);
    assert!(is_recorded());
}

/// Breaks when the schedule begins anew with a record, or stays that of the steps before it was loaded: after the first step,
/// which may be one of any model.
fn a_loaded_record_keeps_its_schedule() {
    let mut optim = optimizer();
    let network = train(Small::<B>::new(), &mut optim, 0, 0..3);
    let saved = Saved::new(&network, &optim);
    let loaded = saved.load_into((network, optim));
    drop(saved);
    let (network, mut optim) = loaded;
    let (network, recorded) = recorded_steps(network, &mut optim, 3..STEPS);
    assert_eq!(recorded, [3, TCOV, 2 * TCOV]);

    // A record of before a due step, loaded between two due steps into the optimizer alone.
    let network = train(network, &mut optim, 0, STEPS..3 * TCOV);
    let record = optim.to_record();
    let network = train(network, &mut optim, 0, 3 * TCOV..3 * TCOV + 1);
    let mut optim = optim.load_record(record);
    let (_, recorded) = recorded_steps(network, &mut optim, 0..TCOV + 1);
    assert_eq!(recorded, [0, TCOV]);
}

/// Breaks when a layer whose first passes were not recorded waits for a due one.
fn a_layer_without_a_mean_has_its_next_pass() {
    let mut optim = optimizer();
    let network = Small::<B>::new();
    let grads = without_recording(|| network.gradients(batch(0, 0, &network.device())));
    let network = optim.step(LR, network, grads);
    let (_, recorded) = recorded_steps(network, &mut optim, 1..STEPS);
    assert_eq!(recorded, [1, TCOV, 2 * TCOV]);
}

/// Breaks when what a skipped layer or one with an input covariance sees is recorded: after the first step, which may be
/// one of any model.
fn layers_that_take_no_mean_are_not_recorded() {
    let network = Small::<B>::new();
    let skip = |layers: &[&str]| layers.iter().map(|layer| layer.to_string()).collect();
    let mut optim = config()
        .with_skip_layers(skip(&["conv", "hidden", "output"]))
        .init();
    let (network, recorded) = recorded_steps(network, &mut optim, 0..STEPS);
    assert_eq!(recorded, [0]);

    let mut covariance = InputCovariance::of(&network.conv);
    covariance.update(batch(9, 0, &network.device()));
    let optim = config()
        .with_skip_layers(skip(&["hidden", "output"]))
        .init();
    let mut optim = optim
        .with_input_covariance(&covariance)
        .expect("it is regular");
    let (_, recorded) = recorded_steps(network, &mut optim, 0..STEPS);
    assert_eq!(recorded, [0]);
}

/// Breaks when what will not count is summed all the same.
fn passes_without_recording_are_not() {
    let network = Small::<B>::new();
    assert_eq!(without_recording(|| recording(&network, 0).0), 0);
    assert!(recording(&network, 0).0 > 0);
    assert_eq!(recording(&network.no_grad(), 0).0, 0);
}
