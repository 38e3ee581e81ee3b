use std::fmt;

/// Half the width of a 95 % interval of a median, in ranks, for `n` values: 1.96 · √n / 2.
const RANKS: f64 = 0.98;
/// With fewer rounds than this, all of them lie closer together than such an interval.
const ROUNDS_OF_AN_INTERVAL: usize = 6;

/// How a contender's time compares with that of another: the median over the rounds, and an
/// interval that holds the true median in 95 of 100 runs if the rounds are independent and enough.
pub(crate) struct Ratio {
    median: f64,
    interval: Option<[f64; 2]>,
}

impl Ratio {
    pub(crate) fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let last = rounds.len() - 1;
        let middle = last as f64 / 2.0;
        let ranks = RANKS * (rounds.len() as f64).sqrt();
        let low = (middle - ranks).max(0.0) as usize;
        let high = ((middle + ranks).ceil() as usize).min(last);
        Self {
            interval: (rounds.len() >= ROUNDS_OF_AN_INTERVAL).then(|| [rounds[low], rounds[high]]),
            median: median(rounds),
        }
    }
}

#[allow(dead_code, reason = "not every benchmark has bars")]
impl Ratio {
    /// The ratio, and whether it is at most `bar`.
    pub(crate) fn against(&self, bar: f64) -> String {
        format!("{self}, {}", verdict(self.median, bar))
    }
}

/// Whether a number is at most `bar`, in words.
pub(crate) fn verdict(ratio: f64, bar: f64) -> String {
    let met = if ratio <= bar { "met" } else { "MISSED" };
    format!("bar {bar} {met}")
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.median)?;
        match self.interval {
            Some([low, high]) => write!(f, " [{low:.3}, {high:.3}]"),
            None => Ok(()),
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len().is_multiple_of(2) {
        true => (values[middle - 1] + values[middle]) / 2.0,
        false => values[middle],
    }
}
