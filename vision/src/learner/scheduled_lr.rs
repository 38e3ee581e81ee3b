//! A learning-rate schedule for burn-train.

use burn::lr_scheduler::LrScheduler;
use burn::tensor::backend::Backend;

use mac_burn_examples::training::Schedule;

/// A [`Schedule`] as one of Burn's: a linear rise, then half a cosine down to zero.
#[derive(Clone, Debug)]
pub struct ScheduledLr {
    schedule: Schedule,
    step: usize,
}

impl ScheduledLr {
    /// From the first step on.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, step: 0 }
    }
}

impl LrScheduler for ScheduledLr {
    type Record<B: Backend> = usize;

    fn step(&mut self) -> f64 {
        let lr = self.schedule.lr(self.step);
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

#[cfg(test)]
mod tests {
    use super::*;
    use mac_burn_examples::backend::Selected;

    #[test]
    fn it_continues_where_its_record_was_made() {
        let start = || {
            ScheduledLr::new(Schedule {
                lr: 1.0,
                warmup: 2,
                warmup_start: 0.0,
                steps: 6,
                whole_cosine: false,
            })
        };
        let mut whole = start();
        let first = [(); 3].map(|()| whole.step());
        assert_eq!(first, [0.5, 1.0, 1.0]);
        let record = whole.to_record::<Selected>();
        let mut resumed = start().load_record::<Selected>(record);
        assert_eq!(
            [(); 3].map(|()| resumed.step()),
            [(); 3].map(|()| whole.step())
        );
    }
}
