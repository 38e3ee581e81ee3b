//! Trainings of one process do not see each other: models made of one, and optimizers over one model.

use crate::small::{
    LR, Optim, Saved, Small, alone, assert_equal, batch, groups, optimizer, train, two_optimizers,
};
use crate::support::{B, values};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use mac_burn::with_fresh_recorders;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::mem;
use std::sync::LazyLock;
use std::thread;

/// Breaks when what a training leaves in its recorders is in other clones of its original.
#[test]
fn trainings_after_each_other_from_clones_of_one_model() {
    let start = Small::<B>::new();
    for data in 0..3 {
        let trained = train(start.clone(), &mut optimizer(), data, 0..7);
        assert_equal(&trained, &alone(data, 7), &format!("training {data}"));
    }
}

/// Breaks when a training pauses the recorders of another, or takes its passes.
#[test]
fn clones_trained_in_turns() {
    let start = Small::<B>::new();
    let mut networks = vec![start.clone(), start.clone(), start];
    let mut optims: [Optim<B>; 3] = [optimizer(), optimizer(), optimizer()];
    for step in 0..11 {
        // All forward passes before the first step.
        let losses: Vec<Tensor<B, 1>> = (networks.iter().zip(0..))
            .map(|(network, data)| network.loss(batch(data, step, &network.device())))
            .collect();
        networks = (networks.into_iter().zip(losses).zip(&mut optims))
            .map(|((network, loss), optim)| {
                let grads = GradientsParams::from_grads(loss.backward(), &network);
                optim.step(LR, network, grads)
            })
            .collect();
    }
    for (network, data) in networks.iter().zip(0..) {
        assert_equal(network, &alone(data, 11), &format!("model {data}"));
    }
}

/// Breaks when a pass whose backward pass runs after a step of its model counts for what the model was cloned from.
#[test]
fn passes_that_overlap_a_step_stay_with_their_model() {
    let start = Small::<B>::new();
    let mut network = start.clone();
    let mut optim = optimizer();
    let device = network.device();
    let [first, second] = [0, 1].map(|step| network.loss(batch(5, step, &device)));
    for loss in [first, second] {
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        network = optim.step(LR, network, grads);
    }
    let trained = train(start, &mut optimizer(), 0, 0..7);
    assert_equal(&trained, &alone(0, 7), "the original");
}

/// Breaks when passes that are added up in a clone stay in its original after the clone's step.
#[test]
fn many_passes_of_a_clone_stay_with_the_clone() {
    let start = Small::<B>::new();
    let network = start.clone();
    let mut accumulator = GradientsAccumulator::new();
    for pass in 0..150 {
        let grads = network.gradients(batch(5, pass, &network.device()));
        accumulator.accumulate(&network, grads);
    }
    optimizer().step(LR, network, accumulator.grads());
    let trained = train(start.clone(), &mut optimizer(), 0, 0..7);
    assert_equal(&trained, &alone(0, 7), "another clone");
}

/// Breaks when a clone that is made while another has run a pass keeps that pass after the other's step.
#[test]
fn a_clone_made_between_a_pass_and_a_step_of_another() {
    let start = Small::<B>::new();
    let first = start.clone();
    let grads = first.gradients(batch(5, 0, &first.device()));
    let second = start.clone();
    optimizer().step(LR, first, grads);
    let trained = train(second, &mut optimizer(), 0, 0..7);
    assert_equal(&trained, &alone(0, 7), "the second clone");
}

/// Each layer as if its optimizer stepped all of a network of its own.
fn expected_of_two(steps: u64) -> Small<B> {
    let mut network = Small::<B>::new();
    let mut optims = two_optimizers(false);
    for step in 0..steps {
        let [first, second] = [0, 1].map(|group| {
            let network = network.apart();
            let grads = network.gradients(batch(0, step, &network.device()));
            optims[group].step(LR, network, grads)
        });
        network = Small {
            conv: first.conv,
            hidden: first.hidden,
            output: second.output,
        };
    }
    network
}

/// Breaks when a step takes the sums of layers that it has no gradients of, or pauses their recorders.
#[test]
fn two_optimizers_over_one_model() {
    const STEPS: u64 = 11;
    let expected = expected_of_two(STEPS);
    for (skip, order) in [
        (false, [0, 1]),
        (true, [0, 1]),
        (false, [1, 0]),
        (true, [1, 0]),
    ] {
        let mut network = Small::<B>::new();
        let mut optims = two_optimizers(skip);
        for step in 0..STEPS {
            let mut grads = network.loss(batch(0, step, &network.device())).backward();
            let mut grads = groups(&network)
                .map(|group| Some(GradientsParams::from_params(&mut grads, &network, &group)));
            for group in order {
                let grads = grads[group].take().expect("each group is stepped once");
                network = optims[group].step(LR, network, grads);
            }
        }
        let what = format!("with skip_layers: {skip}, order {order:?}");
        assert_equal(&network, &expected, &what);
        let report = optims[0].report(&network);
        let updates: Vec<u64> = report.layers.iter().map(|layer| layer.updates).collect();
        assert_eq!(updates, [3, 3, 0], "{what}");
    }
}

/// The steps that a random training may take.
const MOST: u64 = 24;

/// The values after each step of the training of `data` alone, for three of them.
static ALONE: LazyLock<Vec<Vec<Vec<Vec<f64>>>>> = LazyLock::new(|| {
    let trajectory = |data| {
        (0..=MOST)
            .map(|steps| values(&alone::<B>(data, steps)))
            .collect()
    };
    (0..3).map(trajectory).collect()
});

/// An event of the training of one of three models.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The forward pass of the next step; if that has run, one whose result is thrown away.
    Forward,
    /// The rest of the step.
    Step,
    /// The same, with a clone that goes on in place of the model.
    StepClone,
    /// The records of the model and the optimizer are written, and clones of both are kept.
    Save,
    /// The records are loaded into the model and the optimizer.
    LoadRecords,
    /// The same after a backward pass whose gradients are thrown away.
    LoadRecordsAfterBackward,
    /// Clones of what was kept go on in place of the model and the optimizer.
    GoBackToClones,
    /// The kept clones are cloned, and what comes of that takes a step with other data.
    TryElsewhere,
    /// The same, but a clone of what has run the pass takes the step.
    TryCloneElsewhere,
}

struct Training {
    data: u64,
    /// None within a step only.
    network: Option<Small<B>>,
    optim: Optim<B>,
    step: u64,
    loss: Option<Tensor<B, 1>>,
    saved: Option<(u64, Saved<B>)>,
}

impl Training {
    fn new(network: Small<B>, data: u64) -> Self {
        Self {
            data,
            network: Some(network),
            optim: optimizer(),
            step: 0,
            loss: None,
            saved: None,
        }
    }

    fn network(&self) -> &Small<B> {
        self.network.as_ref().expect("it is no step now")
    }

    fn forward(&self) -> Tensor<B, 1> {
        let network = self.network();
        network.loss(batch(self.data, self.step, &network.device()))
    }

    fn gradients(&mut self) -> GradientsParams {
        let loss = self.loss.take().unwrap_or_else(|| self.forward());
        GradientsParams::from_grads(loss.backward(), self.network())
    }

    fn run(&mut self, event: Event) {
        match event {
            Event::Forward => {
                let loss = self.forward();
                self.loss.get_or_insert(loss);
            }
            Event::Step | Event::StepClone if self.step == MOST => {}
            Event::Step | Event::StepClone => {
                let grads = self.gradients();
                let network = self.network.take().expect("it is no step now");
                let stepped = match event {
                    Event::StepClone => network.clone(),
                    _ => network,
                };
                self.network = Some(self.optim.step(LR, stepped, grads));
                self.step += 1;
            }
            Event::Save => {
                self.saved = Some((self.step, Saved::new(self.network(), &self.optim)));
            }
            _ => self.use_saved(event),
        }
    }

    fn use_saved(&mut self, event: Event) {
        let Some((step, saved)) = self.saved.take() else {
            return;
        };
        match event {
            Event::TryElsewhere | Event::TryCloneElsewhere => {
                let (network, optim) = saved.clones();
                let mut elsewhere = Training::new(network, 9);
                (elsewhere.optim, elsewhere.step) = (optim, step.min(MOST - 1));
                elsewhere.run(match event {
                    Event::TryElsewhere => Event::Step,
                    _ => Event::StepClone,
                });
                self.saved = Some((step, saved));
                return;
            }
            Event::GoBackToClones => {
                let (network, optim) = saved.clones();
                (self.network, self.optim) = (Some(network), optim);
            }
            _ => {
                if let Event::LoadRecordsAfterBackward = event {
                    self.gradients();
                }
                let network = self.network.take().expect("it is no step now");
                let optim = mem::replace(&mut self.optim, optimizer());
                let live = (network, optim);
                let (network, optim) = saved.load_into(live);
                (self.network, self.optim) = (Some(network), optim);
            }
        }
        (self.step, self.loss) = (step, None);
        self.saved = Some((step, saved));
    }
}

fn events() -> impl Strategy<Value = Vec<(usize, Event)>> {
    use Event::*;
    let event = select(vec![
        Forward,
        Step,
        Step,
        StepClone,
        Save,
        LoadRecords,
        LoadRecordsAfterBackward,
        GoBackToClones,
        TryElsewhere,
        TryCloneElsewhere,
    ]);
    vec((0..3_usize, event), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Breaks when anything that one model does is seen in another's statistics, or anything before a rollback after it.
    #[test]
    fn models_interleaved_at_random_are_trained_as_alone(events in events()) {
        let start = Small::<B>::new();
        let mut trainings = [0, 1, 2].map(|data| Training::new(start.clone(), data));
        for (index, event) in events {
            let training = &mut trainings[index];
            training.run(event);
            let expected = &ALONE[index][training.step as usize];
            prop_assert!(values(training.network()) == *expected, "model {index}, {event:?}");
        }
    }

    /// Breaks when a recorder or a schedule of one thread's training is another's, or `with_fresh_recorders` leaves the
    /// original's passes. The models share no parameters, as threads that do may deadlock in Burn.
    #[test]
    fn models_of_threads_are_trained_as_alone(steps in [0..MOST, 0..MOST, 0..MOST]) {
        let start = Small::<B>::new();
        start.gradients(batch(9, 0, &start.device()));
        let networks = steps.map(|_| with_fresh_recorders(start.clone()).fork(&start.device()));
        let threads: Vec<_> = (networks.into_iter().zip(steps).zip(0..))
            .map(|((network, steps), data)| {
                thread::spawn(move || values(&train(network, &mut optimizer(), data, 0..steps)))
            })
            .collect();
        for ((thread, steps), data) in threads.into_iter().zip(steps).zip(0..) {
            let trained = thread.join().expect("the training does not panic");
            prop_assert!(trained == ALONE[data][steps as usize], "model {data}");
        }
    }
}
