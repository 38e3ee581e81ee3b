//! Refuses fields of configurations by their names, before something within fails of them.

/// Refuses a size of 0.
///
/// # Panics
/// If the value is 0.
#[track_caller]
pub(crate) fn assert_at_least_one(field: &str, value: usize) {
    assert!(value > 0, "{field} must be at least 1, and is {value}");
}

/// Refuses a rate at which everything would be dropped, or that is no probability.
///
/// # Panics
/// If the rate is not in [0, 1), or is NaN.
#[track_caller]
pub(crate) fn assert_rate(field: &str, rate: f64) {
    assert!(
        (0.0..1.0).contains(&rate),
        "{field} must be in [0, 1), and is {rate}"
    );
}
