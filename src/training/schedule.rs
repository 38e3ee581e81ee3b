use std::f64::consts::PI;

/// The learning rate of each step: a linear rise, then a part of half a cosine down to zero.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The rate after the rise.
    pub lr: f64,
    /// The number of steps of the rise.
    pub warmup: usize,
    /// The number of steps.
    pub steps: usize,
}

impl Schedule {
    /// The learning rate of the step with this index, which begins with 0. The cosine begins after the rise, as in torchvision's
    /// reference code: of the step `t` of `T`, after a rise of `W`, it is `lr / 2 · (1 + cos(π (t − W) / (T − W)))`.
    pub fn lr(&self, step: usize) -> f64 {
        let falling = self.steps.saturating_sub(self.warmup);
        self.risen(step)
            .unwrap_or_else(|| self.fallen(step - self.warmup, falling))
    }

    /// As [`lr`](Self::lr), but for the cosine, which begins with the first step and is covered by the rise, as in timm without
    /// `--warmup-prefix`: `lr / 2 · (1 + cos(π t / T))`. After the rise it is less than `lr` at once.
    pub fn lr_of_whole_cosine(&self, step: usize) -> f64 {
        self.risen(step)
            .unwrap_or_else(|| self.fallen(step, self.steps))
    }

    /// The rate of a step of the rise.
    fn risen(&self, step: usize) -> Option<f64> {
        let part = (step + 1) as f64 / self.warmup as f64;
        (step < self.warmup).then_some(self.lr * part)
    }

    /// The rate after some of the steps of the fall.
    fn fallen(&self, done: usize, steps: usize) -> f64 {
        let done = done as f64 / steps.max(1) as f64;
        self.lr * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        lr: 2.0,
        warmup: 4,
        steps: 14,
    };

    fn assert_rates(lr: impl Fn(&Schedule, usize) -> f64, expected: [(usize, f64); 5]) {
        for (step, expected) in expected {
            let found = lr(&SCHEDULE, step);
            assert!((found - expected).abs() < 1e-9, "{step}: {found}");
        }
    }

    #[test]
    fn it_rises_to_the_rate_and_falls_to_zero() {
        let expected = [(0, 0.5), (3, 2.0), (4, 2.0), (9, 1.0), (14, 0.0)];
        assert_rates(Schedule::lr, expected);
    }

    /// Breaks when the steps of the rise are none of the cosine's, which would be at 2 and 1.309 then: after 4 of 14 steps it is
    /// at 1 + cos(2π/7), and after 7 at the middle.
    #[test]
    fn the_rise_covers_the_beginning_of_a_whole_cosine() {
        let after_four = 1.623_489_801_858_734;
        let expected = [(0, 0.5), (3, 2.0), (4, after_four), (7, 1.0), (14, 0.0)];
        assert_rates(Schedule::lr_of_whole_cosine, expected);
    }

    /// Breaks when a step after the last one rises again, or a run without a step divides by nothing.
    #[test]
    fn after_the_end_there_is_nothing() {
        let without_rise = Schedule {
            warmup: 0,
            ..SCHEDULE
        };
        for step in 0..20 {
            let whole = without_rise.lr_of_whole_cosine(step);
            assert_eq!(without_rise.lr(step), whole, "without a rise they are one");
        }
        assert_eq!(without_rise.lr(20), 0.0);
    }
}
