use std::f64::consts::PI;

/// The learning rate of each step: a linear rise, then half a cosine down to zero.
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
    /// The learning rate of the step with this index, which begins with 0.
    pub fn lr(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        let falling = self.steps.saturating_sub(self.warmup).max(1);
        let done = (step - self.warmup) as f64 / falling as f64;
        self.lr * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_rate_and_falls_to_zero() {
        let schedule = Schedule {
            lr: 2.0,
            warmup: 4,
            steps: 14,
        };
        let rates: Vec<f64> = [0, 3, 4, 9, 14].map(|step| schedule.lr(step)).into();
        for (rate, expected) in rates.iter().zip([0.5, 2.0, 2.0, 1.0, 0.0]) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
    }
}
