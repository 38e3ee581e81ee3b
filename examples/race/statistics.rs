//! Numbers over seeds.

/// Mean and standard deviation of numbers.
pub(crate) fn mean_and_deviation(values: &[f64]) -> [f64; 2] {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    let deviation = squares.sum::<f64>() / (values.len().max(2) - 1) as f64;
    [mean, deviation.sqrt()]
}

/// The middle of numbers, or the mean of the two in the middle; of none, no number.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length.is_multiple_of(2) => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

/// The probability of a mean difference as large as this one, of either sign, if the sign of each difference were a coin's: an
/// exact test of paired differences (Fisher's randomization test). For `n` differences it is `2^(1 − n)` at least.
///
/// # Panics
/// For more than 24 differences.
pub(crate) fn paired_test(differences: &[f64]) -> f64 {
    let count = differences.len();
    assert!(count <= 24, "2^{count} sums are too many");
    let sum = |signs: u32| -> f64 {
        let signed = differences.iter().enumerate();
        let signed = signed.map(|(index, value)| match signs >> index & 1 {
            0 => *value,
            _ => -value,
        });
        signed.sum()
    };
    // Equal sums may differ by rounding.
    let found = sum(0).abs() * (1.0 - 1e-12);
    let patterns = 1_u32 << count;
    let as_large = (0..patterns).filter(|signs| sum(*signs).abs() >= found);
    as_large.count() as f64 / f64::from(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_deviations_and_medians_are_those_of_samples() {
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), [2.0, 2.0_f64.sqrt()]);
        assert_eq!(mean_and_deviation(&[5.0]), [5.0, 0.0]);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    /// Of five differences with one sign two patterns of 32 have as large a sum; with the smallest of another sign, four have.
    #[test]
    fn the_test_counts_the_patterns_of_signs() {
        assert_eq!(paired_test(&[1.0, 2.0, 3.0, 4.0, 5.0]), 2.0 / 32.0);
        assert_eq!(paired_test(&[-1.0, 2.0, 3.0, 4.0, 5.0]), 4.0 / 32.0);
        assert_eq!(paired_test(&[1.0, -1.0]), 1.0);
        assert_eq!(paired_test(&[0.1, 0.1, 0.1]), 0.25);
    }
}
