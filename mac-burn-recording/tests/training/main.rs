//! Trainings of one network, with recorded layers and with Burn's own on the backend that records: what happens to a model between its steps
//! has the same effect, bit for bit.

mod networks;
#[path = "../../../mac-burn/tests/support/mod.rs"]
mod support;

use burn::module::{AutodiffModule, Module};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, Optimizer};
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Record, Recorder};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn::{
    EvaConfig, FoofConfig, InputCurvature, KfacConfig, MacConfig, SmacConfig, StepForm,
    with_fresh_recorders, without_recording,
};
use networks::{
    Both, Configured, LR, Optim, Outcome, Plain, Recorded, Trained, batch, config, ids_of, loss,
    optimizer,
};
use std::thread;
use support::values;

const STEPS: u64 = 8;

/// Runs a scenario with recorded layers, with Burn's own on the backend that records, and with both, and compares all of its outcomes.
macro_rules! assert_same {
    ($scenario:ident $(, $argument:expr)*) => {
        let expected = $scenario::<Recorded<Flex>>($($argument),*);
        assert!(!expected.is_empty());
        for (index, (expected, found)) in expected.iter().zip($scenario::<Plain<Flex>>($($argument),*)).enumerate() {
            assert_eq!(*expected, found, "plain layers, outcome {index}");
        }
        for (index, (expected, found)) in expected.iter().zip($scenario::<Both<Flex>>($($argument),*)).enumerate() {
            assert_eq!(*expected, found, "recorded layers on the backend that records, outcome {index}");
        }
    };
}

/// A training, with the outcome of each step.
fn train<T: Trained>(config: &impl Configured<T>) -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(config));
    let steps = (0..STEPS).map(|index| {
        network = T::step(network.clone(), &mut optim, index);
        Outcome::of::<T>(&network, &optim)
    });
    steps.collect()
}

/// Breaks when a pass is not recorded, recorded twice, or recorded otherwise; or when a schedule or a curvature has something else.
#[test]
fn each_curvature_and_step_form_has_the_same_training() {
    assert_same!(train, &config());
    assert_same!(
        train,
        &config().with_step(StepForm::Orthogonal { iterations: 5 })
    );
    let by_variance = config()
        .with_curvature(InputCurvature::MeanVariance)
        .with_damping(1.0);
    assert_same!(train, &by_variance);
    assert_same!(train, &KfacConfig::new().with_tcov(2).with_tinv(2));
    assert_same!(train, &FoofConfig::new().with_tcov(2).with_tinv(2));
    assert_same!(train, &EvaConfig::new());
    assert_same!(train, &SmacConfig::new().with_tcov(2).with_tinv(2));
}

/// Breaks when it depends on the inner backend or its type of numbers.
#[test]
fn training_is_the_same_on_ndarray_in_double_precision() {
    let expected = train::<Recorded<NdArray<f64>>>(&config());
    assert_eq!(expected, train::<Plain<NdArray<f64>>>(&config()));
}

/// Gradients of micro-batches added up.
fn accumulate<T: Trained>() -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let steps = (0..STEPS).map(|index| {
        let mut accumulator = GradientsAccumulator::new();
        for micro in 0..3 {
            let grads = T::gradients(&network, batch(10 * index + micro));
            accumulator.accumulate(&network, grads);
        }
        network = optim.step(LR, network.clone(), accumulator.grads());
        Outcome::of::<T>(&network, &optim)
    });
    steps.collect()
}

/// Breaks when a pass of several before a step is lost.
#[test]
fn micro_batches_add_up() {
    assert_same!(accumulate);
}

/// Clones run the pass, or take the step, or both; the original may be gone by then.
fn clones<T: Trained>(runs: bool, steps: bool) -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let all = (0..STEPS).map(|index| {
        let grads = match runs {
            true => T::gradients(&network.clone(), batch(index)),
            false => T::gradients(&network, batch(index)),
        };
        network = match steps {
            true => optim.step(LR, network.clone(), grads),
            false => optim.step(LR, std::mem::replace(&mut network, T::new()), grads),
        };
        Outcome::of::<T>(&network, &optim)
    });
    all.collect()
}

/// Breaks when a clone's pass does not count for its original, or a clone's step does not take the original's.
#[test]
fn a_clone_runs_the_passes_or_takes_the_step() {
    for (runs, steps) in [(true, false), (false, true), (true, true)] {
        assert_same!(clones, runs, steps);
    }
}

/// Several clones try a step with the gradients of one pass, and the best is kept.
fn trial_steps<T: Trained>() -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let mut outcomes = Vec::new();
    for index in 0..STEPS {
        let trials = [0.5, 2.0].map(|factor| {
            let grads = T::gradients(&network, batch(index));
            let mut optim = optim.clone();
            let network = optim.step(factor * LR, network.clone(), grads);
            outcomes.push(Outcome::of::<T>(&network, &optim));
            (network, optim)
        });
        let [_, kept] = trials;
        (network, optim) = kept;
    }
    outcomes
}

/// One pass for several steps of clones.
fn steps_of_one_pass<T: Trained>() -> Vec<Outcome> {
    let (network, optim) = (T::new(), optimizer::<T>(&config().with_tcov(1)));
    let mut grads = (0..3)
        .map(|_| T::gradients(&network, batch(0)))
        .collect::<Vec<_>>();
    let mut outcomes = Vec::new();
    for grads in grads.drain(..) {
        let mut optim = optim.clone();
        let stepped = optim.step(LR, network.clone(), grads);
        outcomes.push(Outcome::of::<T>(&stepped, &optim));
    }
    // A new pass replaces those that were taken.
    let (grads, mut optim) = (T::gradients(&network, batch(1)), optim);
    let network = optim.step(LR, network, grads);
    outcomes.push(Outcome::of::<T>(&network, &optim));
    outcomes
}

/// Breaks when a step of one clone takes the passes from another, or leaves them there beside new ones.
#[test]
fn several_clones_take_a_step_with_one_pass() {
    assert_same!(trial_steps);
    assert_same!(steps_of_one_pass);
}

/// Forks run the passes, as Burn's training on several devices has it.
fn forks<T: Trained>() -> Vec<Outcome> {
    let device = Default::default();
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let all = (0..STEPS).map(|index| {
        let mut accumulator = GradientsAccumulator::new();
        let forks = [0, 1].map(|_| network.clone().fork(&device));
        for (part, fork) in forks.iter().enumerate() {
            let images = batch(index).narrow(0, 2 * part, 2);
            accumulator.accumulate(&network, T::gradients(fork, images));
        }
        network = optim.step(LR, network.clone(), accumulator.grads());
        Outcome::of::<T>(&network, &optim)
    });
    all.collect()
}

/// The model goes on as its own fork.
fn as_forks<T: Trained>() -> Vec<Outcome> {
    let device = Default::default();
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let all = (0..STEPS).map(|index| {
        network = network.clone().fork(&device);
        network = T::step(network.clone(), &mut optim, index);
        Outcome::of::<T>(&network, &optim)
    });
    all.collect()
}

/// Breaks when passes of a fork do not count for its original, or a fork begins without its original's schedule.
#[test]
fn forks_count_for_their_original() {
    assert_same!(forks);
    assert_same!(as_forks);
}

/// Forks of one model in threads of their own.
fn threads<T: Trained>() -> Vec<Outcome>
where
    T::Network: Sync,
{
    let device = Default::default();
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let all = (0..STEPS).map(|index| {
        let parts = thread::scope(|scope| {
            let workers = [0, 1].map(|part| {
                let fork = network.clone().fork(&device);
                scope.spawn(move || T::gradients(&fork, batch(index).narrow(0, 2 * part, 2)))
            });
            workers.map(|worker| worker.join().expect("the pass succeeds"))
        });
        let mut accumulator = GradientsAccumulator::new();
        for grads in parts {
            accumulator.accumulate(&network, grads);
        }
        network = optim.step(LR, network.clone(), accumulator.grads());
        Outcome::of::<T>(&network, &optim)
    });
    all.collect()
}

/// Breaks when the passes of threads are lost. Their order is open, so the sums are those of two parts of which one is first: of two numbers they are the
/// same either way.
#[test]
fn threads_of_forks_add_up() {
    assert_same!(threads);
}

/// Trainings in threads, each of its own model.
#[test]
fn trainings_in_threads_do_not_see_each_other() {
    let alone = train::<Plain<Flex>>(&config());
    thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| train::<Plain<Flex>>(&config())))
            .collect();
        for one in all {
            assert_eq!(one.join().expect("it trains"), alone);
        }
    });
}

fn to_bytes<B: Backend, R: Record<B>>(record: R) -> Vec<u8> {
    let files = BinBytesRecorder::<FullPrecisionSettings>::new();
    Recorder::<B>::record(&files, record, ()).expect("the record is written")
}

fn from_bytes<B: Backend, R: Record<B>>(bytes: Vec<u8>) -> R {
    let files = BinBytesRecorder::<FullPrecisionSettings>::new();
    Recorder::<B>::load(&files, bytes, &Default::default()).expect("the record is read")
}

/// A training that is saved and resumed after each step, with new objects or with those in use.
fn resume<T: Trained>(in_use: bool) -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let all = (0..STEPS).map(|index| {
        network = T::step(network.clone(), &mut optim, index);
        let model = to_bytes::<T::B, _>(network.clone().into_record());
        let state = to_bytes::<T::B, _>(optim.to_record());
        let (kept, of_kept) = match in_use {
            true => (network.clone(), optim.clone()),
            false => (T::new(), optimizer::<T>(&config())),
        };
        network = kept.load_record(from_bytes::<T::B, _>(model));
        optim = of_kept.load_record(from_bytes::<T::B, _>(state));
        Outcome::of::<T>(&network, &optim)
    });
    all.collect()
}

/// Breaks when a record of either kind loses what a step depends on. It is also the training without records.
#[test]
fn a_training_resumes_after_each_step() {
    assert_same!(resume, false);
    assert_same!(resume, true);
    // A report of what was just loaded has fewer bytes.
    let resumed = resume::<Plain<Flex>>(false).into_iter();
    let trained = train::<Plain<Flex>>(&config()).into_iter();
    assert!(
        resumed
            .map(Outcome::into_values)
            .eq(trained.map(Outcome::into_values))
    );
}

/// Breaks when a record of a model with recorded layers is none of the plain one, or the state of its optimizer is not that of the plain one's.
#[test]
fn a_training_goes_over_from_recorded_layers_to_plain_ones() {
    type R = Recorded<Flex>;
    type P = Plain<Flex>;
    let (mut network, mut optim) = (R::new(), optimizer::<R>(&config()));
    for index in 0..4 {
        network = R::step(network, &mut optim, index);
    }
    let model = to_bytes::<<R as Trained>::B, _>(network.clone().into_record());
    let state = to_bytes::<<R as Trained>::B, _>(optim.to_record());
    let mut plain = P::new().load_record(from_bytes::<<P as Trained>::B, _>(model));
    let mut of_plain: Optim<P> =
        optimizer::<P>(&config()).load_record(from_bytes::<<P as Trained>::B, _>(state));
    for index in 4..STEPS {
        network = R::step(network, &mut optim, index);
        plain = P::step(plain, &mut of_plain, index);
        assert_eq!(
            Outcome::of::<R>(&network, &optim),
            Outcome::of::<P>(&plain, &of_plain)
        );
    }
}

/// Passes beside the training that are none of it: an evaluation of the training model, one by `valid()`, one whose gradients go through the network
/// and which says that it does not count.
fn beside<T: Trained>() -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let all = (0..STEPS).map(|index| {
        let _ = T::forward(&network, batch(100), false);
        let _ = network.valid();
        let grads = T::gradients(&network, batch(index));
        let images = batch::<T::B>(200).require_grad();
        let through = without_recording(|| T::forward(&network, images.clone(), false));
        let _ = loss(through, images).backward();
        network = optim.step(LR, network.clone(), grads);
        Outcome::of::<T>(&network, &optim)
    });
    all.collect()
}

/// Breaks when a pass counts that no gradient of a step comes of.
#[test]
fn passes_beside_the_training_do_not_count() {
    assert_same!(beside);
    assert_eq!(beside::<Plain<Flex>>(), train::<Plain<Flex>>(&config()));
}

/// A layer that is used from a step on which is due for nothing.
fn later<T: Trained>() -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config()));
    let all = (0..STEPS).map(|index| {
        let past = index < 4 || index == 6;
        let grads = T::gradients_past(&network, batch(index), past);
        network = optim.step(LR, network.clone(), grads);
        let outcome = Outcome::of::<T>(&network, &optim);
        // Until then a backend knows nothing of the layer, and the report says so.
        if index < 4 {
            outcome.into_values()
        } else {
            outcome
        }
    });
    all.collect()
}

/// Breaks when a layer waits for a due step before its first statistic.
#[test]
fn a_layer_that_is_used_later_is_recorded_at_once() {
    assert_same!(later);
}

/// Two optimizers over one network, each with layers of its own.
fn two_optimizers<T: Trained>() -> Vec<Outcome> {
    let mut network = T::new();
    let (mut first, mut second) = (
        optimizer::<T>(&config()),
        optimizer::<T>(&config().with_tcov(2)),
    );
    let of_first = ids_of(&network, &["conv", "norm", "hidden"]);
    let of_second = ids_of(&network, &["sometimes", "output"]);
    let mut outcomes = Vec::new();
    for index in 0..STEPS {
        let images = batch::<T::B>(index);
        let loss = loss(T::forward(&network, images.clone(), false), images);
        let mut grads = loss.backward();
        let grads_of = [&of_first, &of_second]
            .map(|ids| GradientsParams::from_params(&mut grads, &network, ids));
        let [grads, of_second] = grads_of;
        network = first.step(LR, network, grads);
        network = second.step(LR, network, of_second);
        outcomes.push(values(&network));
    }
    outcomes.into_iter().map(Outcome::of_values).collect()
}

/// Breaks when a step of one optimizer takes, or pauses, what another wants.
#[test]
fn two_optimizers_share_a_network() {
    assert_same!(two_optimizers);
}

/// MAC's preconditioner in front of AdamW, which knows nothing of it.
fn before_adamw<T: Trained>() -> Vec<Outcome> {
    let mut network = T::new();
    let mut preconditioner = config().init_preconditioner::<T::B>();
    let mut adamw = AdamWConfig::new().init();
    let all = (0..STEPS).map(|index| {
        let grads = T::gradients(&network, batch(index));
        let grads = preconditioner.precondition(&network, grads);
        network = adamw.step(1e-2, network.clone(), grads);
        let report = preconditioner.report(&network).to_string();
        Outcome::new(values(&network), report)
    });
    all.collect()
}

/// Breaks when it is by MAC's own step that a parameter is known again.
#[test]
fn the_preconditioner_stands_before_another_optimizer() {
    assert_same!(before_adamw);
}

/// A copy that trains by itself from a point between two passes and their step.
fn separate<T: Trained>() -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(&config().with_tcov(1)));
    let grads = T::gradients(&network, batch(0));
    let mut copy = with_fresh_recorders(network.clone());
    let mut of_copy = optimizer::<T>(&config().with_tcov(1));
    copy = T::step(copy, &mut of_copy, 1);
    network = optim.step(LR, network, grads);
    vec![
        Outcome::of::<T>(&network, &optim),
        Outcome::of::<T>(&copy, &of_copy),
    ]
}

/// Breaks when a copy keeps its original's passes, or counts for it.
#[test]
fn fresh_recorders_separate_a_copy() {
    assert_same!(separate);
}

/// Layers that are frozen, biases among them, from some step on.
fn freeze<T: Trained>(config: &impl Configured<T>) -> Vec<Outcome> {
    let (mut network, mut optim) = (T::new(), optimizer::<T>(config));
    let all = (0..STEPS).map(|index| {
        if index == 3 {
            network = frozen::<T>(network.clone(), "bias");
        }
        network = T::step(network.clone(), &mut optim, index);
        Outcome::of::<T>(&network, &optim)
    });
    all.collect()
}

/// The network with the parameters of this name frozen.
fn frozen<T: Trained>(network: T::Network, name: &'static str) -> T::Network {
    use burn::module::{ModuleMapper, Param};
    struct Freeze(&'static str, String);
    impl<B: Backend> ModuleMapper<B> for Freeze {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.1 = name.to_string();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            match self.1 == self.0 {
                true => param.set_require_grad(false),
                false => param,
            }
        }
    }
    network.map(&mut Freeze(name, String::new()))
}

/// Breaks when a bias that is not trained is taken for none.
#[test]
fn frozen_biases_are_biases() {
    assert_same!(freeze, &config());
    assert_same!(freeze, &KfacConfig::new().with_tcov(1).with_tinv(1));
}

/// Breaks when an auxiliary optimizer is given what the backend records, or not what it does not.
#[test]
fn an_auxiliary_optimizer_has_the_rest() {
    fn run<T: Trained>() -> Vec<Outcome> {
        let adamw = AdamWConfig::new().init();
        let optim: Optim<T> = optimizer::<T>(&config());
        let mut optim = optim
            .with_auxiliary_optimizer(adamw, 0.1)
            .expect("the factor is positive");
        let mut network = T::new();
        let all = (0..STEPS).map(|index| {
            let grads = T::gradients(&network, batch(index));
            network = optim.step(LR, network.clone(), grads);
            Outcome::new(values(&network), optim.report(&network).to_string())
        });
        all.collect()
    }
    assert_same!(run);
}

/// Breaks when the settings of one optimizer reach another, or MAC's default configuration is another one here.
#[test]
fn the_default_configuration_trains() {
    assert_same!(train, &MacConfig::new());
}
