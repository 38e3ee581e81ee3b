//! The running statistics of norms after a training step, and the one difference between Burn's and PyTorch's.
//!
//! The running variance of Burn takes in the variance of the batch, `Σ(x − x̄)² / n`, and that of PyTorch its unbiased
//! estimate, `Σ(x − x̄)² / (n − 1)`. So Burn's is corrected before it is compared.

/// The part of a running average that stays in a step, in Burn and in PyTorch.
const KEPT: f64 = 0.9;

/// The running statistics of a norm, channel by channel.
#[derive(Debug)]
pub(crate) struct Running {
    /// The name of the norm.
    pub(crate) name: String,
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
}

/// How many values of a channel a norm may see: the images of the batch times the positions that are left of `[batch,
/// channels, height, width]` after any number of halvings, rounded up as by convolutions or down as by poolings.
pub(crate) fn counts(shape: &[usize]) -> Vec<usize> {
    let &[batch, _, height, width] = shape else {
        return Vec::new();
    };
    let halvings = (0..usize::BITS).map(|times| 1_usize << times);
    let sizes = halvings.take_while(|part| *part <= height.max(width));
    let counts = sizes.flat_map(|part| {
        let up = height.div_ceil(part) * width.div_ceil(part);
        let down = (height / part) * (width / part);
        [batch * up, batch * down]
    });

    counts.filter(|count| *count > 1).collect()
}

/// The running variance as PyTorch would have it, from Burn's and from the one that was filled in. Which of the counts is the
/// norm's is told by the first element: two of them differ by a factor of about 4 in what they add.
pub(crate) fn unbiased(found: &[f64], filled: &[f32], counts: &[usize], first: f64) -> Vec<f64> {
    let corrected = |index: usize, count: usize| {
        let kept = KEPT * f64::from(filled[index]);
        let count = count as f64;

        kept + (found[index] - kept) * (count / (count - 1.0))
    };
    let distance = |count: &usize| (corrected(0, *count) - first).abs();
    let nearest = counts
        .iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)));

    match nearest {
        Some(count) => (0..found.len())
            .map(|index| corrected(index, *count))
            .collect(),
        None => found.to_vec(),
    }
}

/// The length of a vector.
pub(crate) fn length(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|value| value * value).sum();

    squares.sqrt()
}

/// Rounding of a few operations in double precision; without the correction the difference is 0.1/15 of a variance.
#[cfg(test)]
const ROUNDING: f64 = 1e-15;

/// Breaks when another count is taken, or the part that stays is corrected too.
#[test]
fn a_variance_of_the_batch_becomes_the_unbiased_one() {
    let filled = [0.5_f32, 2.0];
    // Of 16 values each, sums of squares of 15 and 30.
    let found = [0.45 + 0.1 * 15.0 / 16.0, 1.8 + 0.1 * 30.0 / 16.0];
    let expected = [0.45 + 0.1, 1.8 + 0.2];

    let counts = counts(&[4, 3, 8, 8]);
    assert_eq!(counts, [256, 256, 64, 64, 16, 16, 4, 4]);
    let corrected = unbiased(&found, &filled, &counts, expected[0]);
    for (corrected, expected) in corrected.iter().zip(expected) {
        assert!((corrected - expected).abs() < ROUNDING, "{corrected}");
    }
}
