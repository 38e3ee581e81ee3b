//! Command line options that are numbers of an interval.

use clap::builder::RangedU64ValueParser;
use std::ops::{Bound, RangeBounds};

/// A parser, for clap's `value_parser`, of the numbers in `interval`; the error for any other text says which
/// numbers are allowed.
///
/// ```
/// use mac_burn_examples::interval::number_in;
///
/// let momentum = number_in(0.0..1.0);
/// assert_eq!(momentum("0.9"), Ok(0.9));
/// assert_eq!(momentum("1"), Err("must be a number in [0, 1)".to_string()));
/// ```
pub fn number_in<R>(interval: R) -> impl Fn(&str) -> Result<f64, String> + Clone
where
    R: RangeBounds<f64> + Clone,
{
    move |text| {
        text.parse()
            .ok()
            .filter(|number| interval.contains(number))
            .ok_or_else(|| format!("must be a number in {}", notation(&interval)))
    }
}

/// A parser, for clap's `value_parser`, of whole numbers above 0.
pub fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

fn notation(interval: &impl RangeBounds<f64>) -> String {
    let low = match interval.start_bound() {
        Bound::Included(low) => format!("[{low}"),
        Bound::Excluded(low) => format!("({low}"),
        Bound::Unbounded => "(-inf".to_string(),
    };
    let high = match interval.end_bound() {
        Bound::Included(high) => format!("{high}]"),
        Bound::Excluded(high) => format!("{high})"),
        Bound::Unbounded => "inf)".to_string(),
    };
    [low, high].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_belong_to_the_interval_only_where_it_says_so() {
        let half_open = number_in((Bound::Excluded(0.0), Bound::Included(1.0)));

        assert_eq!(half_open("1"), Ok(1.0));
        assert_eq!(half_open("1e-3"), Ok(0.001));
        for outside in ["0", "-0.5", "1.5", "inf", "NaN", "", "one"] {
            assert_eq!(
                half_open(outside),
                Err("must be a number in (0, 1]".to_string()),
                "{outside:?}"
            );
        }
    }

    #[test]
    fn infinity_belongs_to_a_closed_interval_only() {
        assert_eq!(number_in(0.0..=f64::INFINITY)("inf"), Ok(f64::INFINITY));
        assert_eq!(
            number_in(0.0..f64::INFINITY)("inf"),
            Err("must be a number in [0, inf)".to_string())
        );
    }
}
