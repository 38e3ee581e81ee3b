use super::layer_statistics::{Demand, STATISTICS, Statistic};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// How many schedules ask for a statistic, for each statistic.
type Counts = [AtomicUsize; STATISTICS];

/// The schedules of all optimizers.
static LIVING: Counts = [const { AtomicUsize::new(0) }; STATISTICS];
/// The schedules whose optimizers have yet to take their first step.
static AWAITING_FIRST_STEP: Counts = [const { AtomicUsize::new(0) }; STATISTICS];

thread_local! {
    static PAUSES: Cell<usize> = const { Cell::new(0) };
}

/// Whether an optimizer's next step takes statistics. The optimizer owns it, recorders look at it.
///
/// Before the first step of an optimizer, or the first after a record was loaded, nobody knows which model it
/// is going to step. So until then the recorders of all models record.
#[derive(Debug)]
pub(crate) struct Schedule {
    due: Arc<AtomicBool>,
    stepped: bool,
    demand: Demand,
}

impl Schedule {
    /// Of an optimizer whose layers are made of these statistics.
    pub(crate) fn new(demand: Demand) -> Self {
        let schedule = Self {
            due: Arc::new(AtomicBool::new(true)),
            stepped: false,
            demand,
        };
        for counts in [&LIVING, &AWAITING_FIRST_STEP] {
            schedule.each_of(counts, |count| count.fetch_add(1, Ordering::Relaxed));
        }
        schedule
    }

    /// The statistics that a layer is asked for which has no curvature yet.
    pub(crate) fn demand(&self) -> Demand {
        self.demand
    }

    /// Changes the counts of the statistics that it asks for.
    fn each_of(&self, counts: &Counts, change: impl Fn(&AtomicUsize) -> usize) {
        for (statistic, count) in Statistic::ALL.into_iter().zip(counts) {
            if self.demand.has(statistic) {
                change(count);
            }
        }
    }

    fn leave(&self, counts: &Counts) {
        self.each_of(counts, |count| count.fetch_sub(1, Ordering::Relaxed));
    }

    /// Tells recorders, after a step, whether the next one takes statistics.
    pub(crate) fn set_due(&mut self, due: bool) {
        self.due.store(due, Ordering::Relaxed);
        if !self.stepped {
            self.stepped = true;
            self.leave(&AWAITING_FIRST_STEP);
        }
    }

    pub(crate) fn observer(&self) -> ScheduleObserver {
        ScheduleObserver(Arc::downgrade(&self.due))
    }

    /// The statistics that the optimizers ask for which have yet to take their first step; empty if there are none.
    pub(crate) fn demand_before_first_steps() -> Demand {
        demand_in(&AWAITING_FIRST_STEP)
    }

    /// The statistics that any optimizer asks for; empty if there are none.
    pub(crate) fn demand_of_all() -> Demand {
        demand_in(&LIVING)
    }
}

fn demand_in(counts: &Counts) -> Demand {
    Demand(std::array::from_fn(|statistic| {
        counts[statistic].load(Ordering::Relaxed) > 0
    }))
}

/// A copy of an optimizer goes its own way, on whichever model.
impl Clone for Schedule {
    fn clone(&self) -> Self {
        Self::new(self.demand)
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.leave(&LIVING);
        if !self.stepped {
            self.leave(&AWAITING_FIRST_STEP);
        }
    }
}

/// A recorder's view of a [`Schedule`].
#[derive(Debug, Clone)]
pub(crate) struct ScheduleObserver(Weak<AtomicBool>);

impl ScheduleObserver {
    /// Whether the next step takes statistics; none if the optimizer is gone.
    pub(crate) fn is_due(&self) -> Option<bool> {
        Some(self.0.upgrade()?.load(Ordering::Relaxed))
    }

    pub(crate) fn is_of(&self, schedule: &Schedule) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&schedule.due))
    }
}

/// Runs `pass` without recording: its forward passes count in no statistic, whether or not gradients flow
/// back through them. Passes of other threads are not affected.
///
/// A pass counts when its backward pass runs. So it need not be told of an evaluation, of a target network or
/// of anything else that no loss is made of; nor of passes under `valid()`, which have no graph, or of layers
/// frozen by `no_grad()`. It is for passes whose gradients go *through* a layer to another's parameters, as those
/// of a generator go through its discriminator:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{GradientsParams, Optimizer};
/// use burn::tensor::Tensor;
/// use mac_burn::{MacConfig, MacLinear, without_recording};
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// # let noise = Tensor::<B, 2>::ones([2, 3], &device);
///
/// let mut generator: MacLinear<B> = LinearConfig::new(3, 4).init(&device).into();
/// let discriminator: MacLinear<B> = LinearConfig::new(4, 1).init(&device).into();
/// let mut optim = MacConfig::new().init();
///
/// let fake = generator.forward(noise);
/// let loss = without_recording(|| discriminator.forward(fake)).mean();
/// let grads = GradientsParams::from_grads(loss.backward(), &generator);
/// generator = optim.step(0.1, generator, grads);
/// ```
pub fn without_recording<R>(pass: impl FnOnce() -> R) -> R {
    /// Ends the pause when it is dropped, so that a panic does not leave it on.
    struct Pause;
    impl Drop for Pause {
        fn drop(&mut self) {
            PAUSES.set(PAUSES.get() - 1);
        }
    }
    PAUSES.set(PAUSES.get() + 1);
    let _pause = Pause;
    pass()
}

/// Whether this thread is inside [`without_recording`].
pub(super) fn recording_is_paused() -> bool {
    PAUSES.get() > 0
}
