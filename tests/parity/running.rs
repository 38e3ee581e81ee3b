//! The running statistics of norms, in Burn's arithmetic and in PyTorch's.

/// The part of a batch's statistics in the running ones after a step, in PyTorch and Burn alike.
const MOMENTUM: f64 = 0.1;

/// The running statistics of a norm, by channels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Running {
    /// The name of the norm.
    pub(crate) name: String,
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
}

/// The numbers that are compared of the values of a norm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extract {
    pub(crate) l2: f64,
    pub(crate) first: f64,
}

impl Running {
    /// The statistics as PyTorch has them, where these are Burn's after one step from others, on `samples` values of each
    /// channel.
    ///
    /// Both normalize a batch by its variance `v`. Burn averages this `v`; PyTorch averages the unbiased estimate,
    /// `v n / (n − 1)`, which is more by `v / (n − 1)`.
    pub(crate) fn into_pytorch(mut self, before: &Self, samples: usize) -> Self {
        let others = (samples - 1) as f64;
        for (after, before) in self.variance.iter_mut().zip(&before.variance) {
            let of_batch = *after - (1.0 - MOMENTUM) * before;
            *after += of_batch / others;
        }

        self
    }
}

impl Extract {
    pub(crate) fn of(values: &[f64]) -> Self {
        let squares: f64 = values.iter().map(|value| value * value).sum();

        Self {
            l2: squares.sqrt(),
            first: values[0],
        }
    }
}

/// A batch of 1, 2, 3 and 6 has the variance 3.5, and the unbiased estimate 14/3; breaks when anything but the batch's
/// part of the variance is corrected.
#[test]
fn the_unbiased_estimate_is_that_of_the_batch() {
    let running = |mean, variance| Running {
        name: "bn1".to_owned(),
        mean: vec![mean],
        variance: vec![variance],
    };
    let before = running(0.0, 2.0);
    let burn = running(0.3, 0.9 * 2.0 + 0.1 * 3.5);

    let pytorch = burn.into_pytorch(&before, 4);
    let expected = 0.9 * 2.0 + 0.1 * 14.0 / 3.0;
    // Rounding of a few operations on numbers near 2.
    assert!((pytorch.variance[0] - expected).abs() < 1e-14);
    assert_eq!(pytorch.mean, [0.3]);
}
