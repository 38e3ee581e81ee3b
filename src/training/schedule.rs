use std::f64::consts::PI;

use serde::Serialize;

/// The learning rate of each step: a linear rise, then a part of half a cosine down to zero.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// The rate after the rise.
    pub lr: f64,
    /// The number of steps of the rise.
    pub warmup: usize,
    /// The share of the rate at which the rise begins, in [0, 1).
    pub warmup_start: f64,
    /// The number of steps.
    pub steps: usize,
    /// Whether the cosine begins with the first step and is covered by the rise, as in timm without `--warmup-prefix`, and not
    /// after the rise, as in torchvision's reference code.
    pub whole_cosine: bool,
}

impl Schedule {
    /// The learning rate of the step with this index, which begins with 0: in a rise of `W` steps that begins at the share `s`,
    /// of the step `t` it is `lr · (s + (1 − s) (t + 1) / W)`; after it, of the step `t` of `T` it is
    /// `lr / 2 · (1 + cos(π (t − W) / (T − W)))`, or, where the cosine is whole, `lr / 2 · (1 + cos(π t / T))`, which is less
    /// than `lr` at once.
    pub fn lr(&self, step: usize) -> f64 {
        if step < self.warmup {
            let from_zero = self.lr * (step + 1) as f64 / self.warmup as f64;
            return self.lr * self.warmup_start + (1.0 - self.warmup_start) * from_zero;
        }
        let before = if self.whole_cosine { 0 } else { self.warmup };
        let falling = self.steps.saturating_sub(before).max(1);
        let done = (step - before) as f64 / falling as f64;
        self.lr * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        lr: 2.0,
        warmup: 4,
        warmup_start: 0.0,
        steps: 14,
        whole_cosine: false,
    };
    const WHOLE: Schedule = Schedule {
        whole_cosine: true,
        ..SCHEDULE
    };

    fn assert_rates(schedule: &Schedule, expected: [(usize, f64); 5]) {
        for (step, expected) in expected {
            let found = schedule.lr(step);
            assert!((found - expected).abs() < 1e-9, "{step}: {found}");
        }
    }

    #[test]
    fn it_rises_to_the_rate_and_falls_to_zero() {
        let expected = [(0, 0.5), (3, 2.0), (4, 2.0), (9, 1.0), (14, 0.0)];
        assert_rates(&SCHEDULE, expected);
    }

    /// Breaks when the rise is the same as from 0, begins with the share of the rate itself and not a step above it, or ends above
    /// the rate: it is at 0.8, 1.2, 1.6 and 2 of 2 where it begins at a fifth.
    #[test]
    fn a_rise_from_a_share_of_the_rate_ends_at_the_rate() {
        let schedule = Schedule {
            warmup_start: 0.2,
            ..SCHEDULE
        };
        let expected = [(0, 0.8), (1, 1.2), (2, 1.6), (3, 2.0), (4, 2.0)];
        assert_rates(&schedule, expected);
    }

    /// Breaks when the steps of the rise are none of the cosine's, which would be at 2 and 1.309 then: after 4 of 14 steps it is
    /// at 1 + cos(2π/7), and after 7 at the middle.
    #[test]
    fn the_rise_covers_the_beginning_of_a_whole_cosine() {
        let after_four = 1.623_489_801_858_734;
        let expected = [(0, 0.5), (3, 2.0), (4, after_four), (7, 1.0), (14, 0.0)];
        assert_rates(&WHOLE, expected);
    }

    /// Breaks when a step after the last one rises again, or a run without a step divides by nothing.
    #[test]
    fn after_the_end_there_is_nothing() {
        for schedule in [SCHEDULE, WHOLE] {
            assert_eq!(schedule.lr(20), 0.0);
        }
        let empty = Schedule {
            warmup: 0,
            steps: 0,
            ..SCHEDULE
        };
        assert_eq!(empty.lr(1), 0.0);
    }
}
