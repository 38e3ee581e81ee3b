//! Clones and forks that are made for one step belong to their original, and a model's statistics go with it from device to
//! device.

#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;
#[path = "support/small.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared by tests")]
mod small;
mod support;

use burn::backend::Autodiff;
use burn::module::{Initializer, Module, ModuleMapper, Param};
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use counting::{Counting, Numbered};
use mac_burn::{MacConfig, Recorder};
use small::{LR, Optim, Small, alone, assert_equal, batch, config, groups, optimizer, train_apart};
use std::sync::Mutex;
use std::thread;
use support::{B, difference, values};

type Devices = Autodiff<Counting>;

const STEPS: u64 = 11;

/// Parts of a batch add up in another order than the whole; a part that is left out changes a mean by 1e-2 or more.
const ROUNDING: f64 = 1e-5;

/// Steps a model that is moved to the device of each step.
fn check_moves(move_to: fn(Small<Devices>, &Numbered) -> Small<Devices>) {
    // To a device at a due step and between two, and back likewise.
    let devices = [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1].map(Numbered);
    let (mut network, mut optim) = (Small::<Devices>::new(), optimizer());
    for (device, step) in devices.iter().zip(0..) {
        if network.device() != *device {
            network = move_to(network, device);
        }
        let grads = network.gradients(batch(0, step, device));
        network = optim.step(LR, network, grads);
    }
    assert_equal(
        &network,
        &alone(0, devices.len() as u64),
        "the model that moves",
    );
}

/// Breaks when the schedule of a device is another's, or a mean stays on the device that it was recorded on.
#[test]
fn a_model_that_forks_to_a_device_and_back_misses_no_pass() {
    check_moves(|network, device| network.fork(device));
}

/// Makes leaves of the graph of parameters that are none, as those of a module that was moved by `to_device` are.
struct Leaves;

impl<B: Backend> ModuleMapper<B> for Leaves {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| tensor.detach().require_grad())
    }
}

/// Breaks as the test above does, or when mapping a module replaces its recorders.
#[test]
fn a_model_that_moves_to_a_device_and_back_misses_no_pass() {
    check_moves(|network, device| network.to_device(device).map(&mut Leaves));
}

/// Breaks when a clone does not begin with its original's passes, or its own do not count for the original.
#[test]
fn a_clone_runs_the_passes_or_takes_the_step() {
    for (clone_runs, clone_steps) in [(true, false), (false, true), (true, true)] {
        let (mut network, mut optim) = (Small::<B>::new(), optimizer());
        for step in 0..STEPS {
            let images = batch(0, step, &network.device());
            let grads = match clone_runs {
                true => network.clone().gradients(images),
                false => network.gradients(images),
            };
            network = match clone_steps {
                true => optim.step(LR, network.clone(), grads),
                false => optim.step(LR, network, grads),
            };
        }
        let what = format!("runs: {clone_runs}, steps: {clone_steps}");
        assert_equal(&network, &alone(0, STEPS), &what);
    }
}

/// Breaks when the original keeps a pass that a clone's step has taken beside a new one.
#[test]
fn trial_steps_of_clones_see_the_latest_pass_only() {
    let network = Small::<B>::new();
    for step in 0..3 {
        let grads = network.gradients(batch(0, step, &network.device()));
        let trial = optimizer().step(LR, network.clone(), grads);
        let expected = train_apart(Small::new(), &mut optimizer(), 0, step..step + 1);
        assert_equal(&trial, &expected, &format!("trial {step}"));
    }
}

/// Breaks when a clone's step takes a pass from a clone that is made after it.
#[test]
fn several_clones_take_a_step_with_one_pass() {
    let network = Small::<B>::new();
    let mut grads = network.loss(batch(0, 0, &network.device())).backward();
    let groups = groups(&network);
    let expected = train_apart(Small::new(), &mut optimizer(), 0, 0..1);
    let [first, second] = groups.map(|group| {
        let grads = GradientsParams::from_params(&mut grads, &network, &group);
        optimizer().step(LR, network.clone(), grads)
    });
    let stepped = Small {
        conv: first.conv,
        hidden: first.hidden,
        output: second.output,
    };
    assert_equal(&stepped, &expected, "the two together");
}

/// A layer that is no layer of Burn's: only its recorder knows its weight.
#[derive(Module, Debug)]
struct OwnLayer<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    recorder: Recorder<B>,
}

/// Breaks when the layer of a recorder is known only to the clone that ran the pass.
#[test]
fn clones_run_the_passes_of_a_layer_of_ones_own() {
    let device = Default::default();
    let mut layer = OwnLayer::<B> {
        weight: Initializer::Ones.init([3, 3], &device),
        recorder: Recorder::new(),
    };
    let mut optim = MacConfig::new().with_tcov(1).with_tinv(1).init();
    for _ in 0..3 {
        let worker = layer.clone();
        let input = Tensor::<B, 2>::ones([2, 3], &device);
        let output = input.clone().matmul(worker.weight.val());
        let output = worker
            .recorder
            .record_linear(&worker.weight, None, &input, output);
        let grads = GradientsParams::from_grads(output.sum().backward(), &worker);
        layer = optim.step(LR, layer, grads);
    }
    let report = optim.report(&layer);
    assert_eq!(report.layers[0].updates, 3);
}

/// The latest means of all layers.
fn means<B: AutodiffBackend>(network: &Small<B>, optim: &Optim<B>) -> Vec<Vec<f64>> {
    let Small {
        conv,
        hidden,
        output,
    } = network;
    let weights = [conv.weight.id, hidden.weight.id, output.weight.id];
    let mean = |weight| optim.preconditioner().activation_ema(weight);
    let means = weights.map(|weight| mean(weight).expect("it recorded"));
    means.map(|mean| mean.into_data().iter().collect()).to_vec()
}

/// Trains with the gradients of the two halves of each batch and compares with whole batches.
fn check_halves<B: AutodiffBackend>(
    gradients: impl Fn(&Small<B>, [Tensor<B, 4>; 2]) -> [GradientsParams; 2],
) {
    let optimizer = || -> Optim<B> { config().with_stat_decay(0.0).init() };
    for clone_steps in [true, false] {
        let start = Small::<B>::new();
        let mut expected = optimizer();
        let whole = train_apart(start.apart(), &mut expected, 0, 0..STEPS);

        let (mut network, mut optim) = (start, optimizer());
        for step in 0..STEPS {
            let images = batch(0, step, &network.device());
            let halves = [0, 2].map(|first| images.clone().narrow(0, first, 2));
            let mut accumulator = GradientsAccumulator::new();
            for grads in gradients(&network, halves) {
                accumulator.accumulate(&network, grads);
            }
            let stepped = if clone_steps {
                network.clone()
            } else {
                network
            };
            network = optim.step(LR, stepped, accumulator.grads());
        }
        let (left, right) = (means(&network, &optim), means(&whole, &expected));
        assert!(
            difference(&left, &right) < ROUNDING,
            "{left:?} is not {right:?}"
        );
        assert!(difference(&values(&network), &values(&whole)) < ROUNDING);
    }
}

/// Breaks when a clone's passes do not count for its original.
#[test]
fn threads_that_accumulate_on_clones_have_the_whole_batchs_mean() {
    // Burn's autodiff may deadlock when one thread runs forward and another backward through the same parameters.
    let turn = Mutex::new(());
    check_halves::<B>(|network, halves| {
        thread::scope(|scope| {
            let threads = halves.map(|half| {
                let (network, turn) = (network.clone(), &turn);
                scope.spawn(move || {
                    let _turn = turn.lock();
                    network.gradients(half)
                })
            });
            threads.map(|thread| thread.join().expect("the passes do not panic"))
        })
    });
}

/// Burn's `OptimMainDevice`: breaks when `step` takes the sums of the parameters' device only.
#[test]
fn forks_on_devices_have_the_whole_batchs_mean() {
    check_halves::<Devices>(|network, halves| {
        let main = network.device();
        let mut devices = [0, 1].map(Numbered).into_iter();
        halves.map(|half| {
            let device = devices.next().expect("there are two devices");
            let fork = network.clone().fork(&device);
            let grads = fork.gradients(half.to_device(&device));
            grads.to_device(&main, network)
        })
    });
}
