use std::fmt;

/// Half the width of a 95 % interval of a median, in ranks, for `n` values: 1.96 · √n / 2.
const RANKS: f64 = 0.98;

/// How a contender's time compares with that of another: the median over the rounds, and an
/// interval that holds the true median in 95 of 100 runs if the rounds are independent.
pub(crate) struct Ratio {
    median: f64,
    low: f64,
    high: f64,
}

impl Ratio {
    pub(crate) fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let middle = (rounds.len() - 1) as f64 / 2.0;
        let ranks = RANKS * (rounds.len() as f64).sqrt();
        let last = rounds.len() - 1;
        Self {
            low: rounds[(middle - ranks).max(0.0) as usize],
            high: rounds[((middle + ranks).ceil() as usize).min(last)],
            median: median(rounds),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, low, high } = self;
        write!(f, "{median:.3} [{low:.3}, {high:.3}]")
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
