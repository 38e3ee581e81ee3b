//! The learning rate of a recipe, for burn-train.

use burn::lr_scheduler::LrScheduler;
use burn::tensor::backend::Backend;
use mac_burn_examples::training::Schedule;

/// A [`Schedule`] whose cosine begins where the recipe says.
#[derive(Clone, Debug)]
pub(crate) struct RecipeLr {
    schedule: Schedule,
    /// Whether the cosine begins with the first step, and not after the rise.
    whole_cosine: bool,
    step: usize,
}

impl RecipeLr {
    /// From the first step on.
    pub(crate) fn new(schedule: Schedule, whole_cosine: bool) -> Self {
        Self {
            schedule,
            whole_cosine,
            step: 0,
        }
    }
}

impl LrScheduler for RecipeLr {
    type Record<B: Backend> = usize;

    fn step(&mut self) -> f64 {
        let lr = match self.whole_cosine {
            true => self.schedule.lr_of_whole_cosine(self.step),
            false => self.schedule.lr(self.step),
        };
        self.step += 1;
        lr
    }

    fn to_record<B: Backend>(&self) -> usize {
        self.step
    }

    fn load_record<B: Backend>(mut self, step: usize) -> Self {
        self.step = step;
        self
    }
}
