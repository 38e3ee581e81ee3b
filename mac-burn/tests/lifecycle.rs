//! The statistics of one training in the life of a program: the passes that count, for which optimizer, and
//! from which step on.

#[path = "support/logged.rs"]
mod logged;
#[path = "support/small.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared by tests")]
mod small;
mod support;

use burn::module::{AutodiffModule, Initializer, Module, Param, ParamId};
use burn::nn::LinearConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use log::LevelFilter;
use logged::logged;
use mac_burn::{
    Coverage, Mac, MacConfig, MacError, MacLinear, MacPreconditioner, Recorder,
    with_fresh_recorders, without_recording,
};
use small::{LR, Saved, Small, alone, assert_equal, batch, config, optimizer, train, train_apart};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use support::{B, filled, random, values};

/// Beyond two passes that are due, and a refresh after each.
const STEPS: u64 = 11;

fn other_images(step: u64) -> Tensor<B, 4> {
    batch(9, step, &Default::default())
}

/// Trains with other passes before and after each forward and each backward pass.
fn check_beside(mut other: impl FnMut(&Small<B>, u64)) {
    // First, so that what the other passes may leave in this thread is not in both.
    let expected = alone(0, STEPS);
    let (mut network, mut optim) = (Small::<B>::new(), optimizer());
    for step in 0..STEPS {
        other(&network, step);
        let loss = network.loss(batch(0, step, &network.device()));
        other(&network, step);
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        other(&network, step);
        network = optim.step(LR, network, grads);
    }
    assert_equal(&network, &expected, "the training");
}

/// Breaks when a pass counts before gradients flow back through it.
#[test]
fn an_evaluation_without_valid_does_not_count() {
    check_beside(|network, step| drop(network.forward(other_images(step))));
}

/// Breaks when a pass of another thread counts before gradients flow back through it.
#[test]
fn a_forward_pass_of_another_thread_does_not_count() {
    check_beside(|network, step| {
        let network = network.clone();
        let pass = thread::spawn(move || drop(network.forward(other_images(step))));
        pass.join().expect("the pass does not panic");
    });
}

/// The forward pass of a target network.
type Target = Box<dyn Fn(Tensor<B, 4>) -> Tensor<B, 2>>;

/// Breaks when a clone's passes count before gradients flow back through them.
#[test]
fn a_target_network_does_not_count() {
    let train_with = |target: fn(&Small<B>) -> Target| {
        let (mut online, mut optim) = (Small::<B>::new(), optimizer());
        let mut value = target(&online);
        for step in 0..STEPS {
            if step % 3 == 0 {
                value = target(&online);
            }
            let error =
                online.forward(batch(0, step, &online.device())) - value(other_images(step));
            let grads = GradientsParams::from_grads(error.square().mean().backward(), &online);
            online = optim.step(LR, online, grads);
        }
        online
    };
    let clone = train_with(|online| {
        let target = online.clone();
        Box::new(move |images| target.forward(images).detach())
    });
    let valid = train_with(|online| {
        let target = online.valid();
        Box::new(move |images| Tensor::from_inner(target.forward(images.inner())))
    });
    assert_equal(&clone, &valid, "the online network");
}

/// The mean that a discriminator's step takes, after a generator's pass through it.
fn discriminator_mean(pass: fn(&MacLinear<B>, Tensor<B, 2>) -> Tensor<B, 2>) -> Vec<f64> {
    let device = Default::default();
    let linear =
        |size| filled::<B, MacLinear<B>>(LinearConfig::new(3, size).init(&device).into(), 1);
    let (generator, discriminator) = (linear(3), linear(1));
    let mut optim: Mac<MacLinear<B>, B> = config().with_stat_decay(0.0).init();

    let fake = generator.forward(random([4, 3], 1));
    let loss = pass(&discriminator, fake).mean();
    let grads = GradientsParams::from_grads(loss.backward(), &generator);
    assert_eq!(grads.len(), 2);

    let loss = discriminator.forward(random([4, 3], 2)).mean();
    let grads = GradientsParams::from_grads(loss.backward(), &discriminator);
    let discriminator = optim.step(LR, discriminator, grads);
    let mean = optim
        .preconditioner()
        .activation_ema(discriminator.weight.id);
    mean.expect("it recorded").into_data().iter().collect()
}

/// Breaks when a pass within `without_recording` counts.
#[test]
fn a_generators_pass_through_a_discriminator_does_not_count_if_it_says_so() {
    let without = discriminator_mean(|layer, fake| (**layer).forward(fake));
    let guarded = discriminator_mean(|layer, fake| without_recording(|| layer.forward(fake)));
    assert_eq!(guarded, without);
    // Without the guard it does: gradients flow back through it.
    assert_ne!(
        discriminator_mean(|layer, fake| layer.forward(fake)),
        without
    );
}

/// Breaks when a panic leaves recording off, an inner call switches it on, or it is off in other threads.
#[test]
fn without_recording_ends_with_the_outermost_call_and_is_of_one_thread() {
    let pass = |network: &Small<B>, step| drop(network.gradients(other_images(step)));
    check_beside(|network, step| {
        without_recording(|| {
            without_recording(|| pass(network, step));
            pass(network, step);
        });
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            without_recording(|| {
                pass(network, step);
                panic!("of the test");
            })
        }));
        assert!(panicked.is_err());
    });
    let (network, mut optim) = (Small::<B>::new(), optimizer());
    let (network, grads) = without_recording(|| {
        let pass = thread::spawn(move || {
            let grads = network.gradients(other_images(0));
            (network, grads)
        });
        pass.join().expect("the pass does not panic")
    });
    let network = optim.step(LR, network, grads);
    assert!(
        optim
            .report(&network)
            .layers
            .iter()
            .all(|layer| layer.updates == 1)
    );
}

/// Breaks when a copy keeps its original's passes, or counts for it.
#[test]
fn fresh_recorders_separate_a_copy_at_once() {
    let (original, mut optim) = (Small::<B>::new(), optimizer());
    let grads = original.gradients(batch(0, 0, &original.device()));
    let copy = with_fresh_recorders(original.clone());
    let copy = train(copy, &mut optimizer(), 1, 0..STEPS);
    assert_equal(&copy, &alone(1, STEPS), "the copy");
    let original = optim.step(LR, original, grads);
    let original = train(original, &mut optim, 0, 1..STEPS);
    assert_equal(&original, &alone(0, STEPS), "the original");
}

/// Breaks when the schedule of one optimizer pauses the recorders for another.
#[test]
fn a_new_optimizer_on_a_live_model_begins_as_on_a_new_one() {
    for made_early in [true, false] {
        let start = Small::<B>::new();
        let (mut first, mut second) = (optimizer(), optimizer());
        let mut expected = train_apart(start.apart(), &mut first, 0, 0..7);
        expected = train_apart(expected, &mut second, 0, 7..14);
        // The first goes on with what was another's model meanwhile.
        expected = train_apart(expected, &mut first, 0, 14..20);

        let mut first = optimizer();
        let early = made_early.then(optimizer);
        let network = train(start, &mut first, 0, 0..7);
        let mut second = early.unwrap_or_else(optimizer);
        let network = train(network, &mut second, 0, 7..14);
        let network = train(network, &mut first, 0, 14..20);
        assert_equal(&network, &expected, &format!("made early: {made_early}"));
    }
}

/// Breaks when live recorders or schedules keep anything of the steps that are rolled back.
#[test]
fn records_of_each_step_roll_back_each_later_step() {
    const LAST: u64 = 12;
    let start = Small::<B>::new();
    let (mut network, mut optim) = (start.apart(), optimizer());
    let mut saved = Vec::new();
    for step in 0..=LAST {
        saved.push(Saved::new(&network, &optim));
        network = train_apart(network, &mut optim, 0, step..step + 1);
    }
    let expected = network;
    for (from, to) in (0..=LAST).flat_map(|from| (0..=from).map(move |to| (from, to))) {
        let mut optim = optimizer();
        let live = train(start.apart(), &mut optim, 0, 0..from);
        let (network, mut optim) = saved[to as usize].load_into((live, optim));
        let network = train(network, &mut optim, 0, to..LAST + 1);
        assert_equal(&network, &expected, &format!("from {from} to {to}"));
    }
}

/// Breaks when what clones of kept clones do stays in these, or in what they were kept from.
#[test]
fn kept_clones_roll_back_as_often_as_one_likes() {
    let (mut network, mut optim) = (Small::<B>::new(), optimizer());
    for step in 0..7 {
        let saved = Saved::new(&network, &optim);
        for data in [1, 2] {
            let ((network, mut optim), (live, other)) = (saved.clones(), saved.clones());
            let (apart, mut expected) = saved.load_into((live, other));
            let network = train(network, &mut optim, data, step..step + 7);
            let apart = train_apart(apart, &mut expected, data, step..step + 7);
            assert_equal(&network, &apart, &format!("from step {step}, data {data}"));
        }
        network = train(network, &mut optim, 0, step..step + 1);
    }
    assert_equal(&network, &alone(0, 7), "what the clones were kept from");
}

/// Two layers beside each other, one of which may be left out.
#[derive(Module, Debug)]
struct Beside<B: Backend> {
    always: MacLinear<B>,
    at_times: MacLinear<B>,
}

impl Beside<B> {
    fn new() -> Self {
        let device = Default::default();
        let layer = || LinearConfig::new(4, 3).init(&device).into();
        let (always, at_times) = (layer(), layer());
        filled(Self { always, at_times }, 1)
    }

    fn gradients(&self, step: u64, both: bool) -> GradientsParams {
        let input = random([5, 4], step);
        let mut output = self.always.forward(input.clone());
        if both {
            output = output + self.at_times.forward(input);
        }
        GradientsParams::from_grads(output.square().mean().backward(), self)
    }
}

/// Takes steps of which those that `both` chooses use both layers.
fn train_beside(
    mut network: Beside<B>,
    optim: &mut Mac<Beside<B>, B>,
    steps: std::ops::Range<u64>,
    both: impl Fn(u64) -> bool,
) -> Beside<B> {
    for step in steps {
        let grads = network.gradients(step, both(step));
        network = optim.step(LR, network, grads);
    }
    network
}

fn updates(optim: &Mac<Beside<B>, B>, network: &Beside<B>) -> [u64; 2] {
    let layers = optim.report(network).layers;
    [layers[0].updates, layers[1].updates]
}

/// Breaks when a layer waits for a due step before its first statistic, or is refreshed by the schedule of others only.
#[test]
fn a_layer_that_is_used_later_is_preconditioned_from_its_first_step_on() {
    let mut optim: Mac<Beside<B>, B> = config().init();
    let network = train_beside(Beside::new(), &mut optim, 0..3, |_| false);
    assert_eq!(updates(&optim, &network), [1, 0]);

    // To a new optimizer the step is the first of all layers.
    let stepped_by = |mut optim: Mac<Beside<B>, B>| {
        let network = Beside::new().load_record(network.clone().into_record());
        values(&train_beside(network, &mut optim, 3..4, |_| true).at_times)
    };
    let expected = stepped_by(config().init());
    assert_ne!(
        expected,
        stepped_by(config().with_damping(f64::INFINITY).init())
    );

    let network = train_beside(network, &mut optim, 3..4, |_| true);
    assert_eq!(values(&network.at_times), expected);
    assert_eq!(updates(&optim, &network), [1, 1]);
    // It is left out at the due step 5, and used at 10.
    let network = train_beside(network, &mut optim, 4..STEPS, |step| {
        step % 5 != 0 || step == 10
    });
    assert_eq!(updates(&optim, &network), [3, 2]);
}

/// The warnings that a function logs.
fn warnings(function: impl FnOnce()) -> Vec<String> {
    logged(LevelFilter::Warn);
    function();
    logged(LevelFilter::Warn)
}

/// Breaks when a layer is said to have a gradient that it does not have, or one with a gradient is passed over in silence.
#[test]
fn a_layer_is_warned_about_if_it_has_a_gradient_and_no_statistic() {
    let without_gradient = warnings(|| {
        train_beside(Beside::new(), &mut config().init(), 0..STEPS, |_| false);
    });
    assert_eq!(without_gradient, Vec::<String>::new());

    let unrecorded = warnings(|| {
        let mut optim: Mac<Beside<B>, B> = config().init();
        let mut network = Beside::new();
        for step in 0..3 {
            let grads = without_recording(|| network.gradients(step, true));
            network = optim.step(LR, network, grads);
        }
        let coverage: Vec<Coverage> = (optim.report(&network).layers.iter())
            .map(|layer| layer.coverage)
            .collect();
        assert_eq!(coverage, [Coverage::NothingRecorded; 2]);
    });
    assert_eq!(unrecorded.len(), 2, "{unrecorded:?}");
    for layer in ["`always` has a gradient", "`at_times` has a gradient"] {
        let named = unrecorded.iter().filter(|warning| warning.contains(layer));
        assert_eq!(named.count(), 1, "{unrecorded:?}");
    }
}

/// Two weights of one size and, by mistake, one recorder.
#[derive(Module, Debug)]
struct OneRecorder<B: Backend> {
    up: Param<Tensor<B, 2>>,
    down: Param<Tensor<B, 2>>,
    recorder: Recorder<B>,
}

impl OneRecorder<B> {
    fn new() -> Self {
        let weight = || Initializer::Ones.init([3, 3], &Default::default());
        Self {
            up: weight(),
            down: weight(),
            recorder: Recorder::new(),
        }
    }

    fn output(&self) -> Tensor<B, 2> {
        let apply = |weight: &Param<Tensor<B, 2>>, input: Tensor<B, 2>| {
            let output = input.clone().matmul(weight.val());
            self.recorder.record_linear(weight, None, &input, output)
        };
        apply(&self.down, apply(&self.up, random([2, 3], 1)))
    }

    /// The gradients of one weight or of both.
    fn gradients(&self, of: &[ParamId]) -> GradientsParams {
        let mut grads = self.output().sum().backward();
        GradientsParams::from_params(&mut grads, self, of)
    }
}

/// Breaks when the sums of two weights are mixed, when only one with a gradient is looked at, or when the error comes after
/// a change.
#[test]
fn one_recorder_of_two_weights_is_an_error_that_names_both() {
    let module = OneRecorder::new();
    let expected = MacError::SharedRecorder {
        first: "up".into(),
        second: "down".into(),
    };
    let (up, down) = (module.up.id, module.down.id);
    for of in [&[up, down][..], &[up], &[down]] {
        let module = with_fresh_recorders(module.clone());
        let mut preconditioner: MacPreconditioner<B> = config().init_preconditioner();
        let seen = |preconditioner: &MacPreconditioner<B>| {
            let record = serde_json::to_string(&preconditioner.to_record());
            (record.expect("it is written"), format!("{module:?}"))
        };
        let grads = module.gradients(of);
        let before = seen(&preconditioner);
        let error = preconditioner
            .try_precondition(&module, grads)
            .expect_err("the sums are those of two weights");
        assert_eq!(error, expected);
        assert_eq!(seen(&preconditioner), before);
    }

    let mut optim: Mac<OneRecorder<B>, B> = MacConfig::new().init();
    let grads = module.gradients(&[up, down]);
    let step = AssertUnwindSafe(|| optim.step(LR, module.clone(), grads));
    let panic = catch_unwind(step).expect_err("the step panics");
    let text = panic.downcast_ref::<String>().expect("it has a text");
    assert_eq!(*text, expected.to_string());
    assert!(text.contains("`up`") && text.contains("`down`"), "{text}");
}
