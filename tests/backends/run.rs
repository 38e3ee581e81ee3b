use crate::bounds::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Values by the names of the parameters, of each step.
pub(crate) type Parameters = BTreeMap<String, Vec<f64>>;

/// The parameters that training came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) parameters: Parameters,
}

/// The largest difference of any parameter; infinite where one is missing or not a number.
pub(crate) fn difference(found: Option<&Parameters>, expected: &Parameters) -> f64 {
    let Some(found) = found.filter(|found| found.keys().eq(expected.keys())) else {
        return f64::INFINITY;
    };
    let mut largest: f64 = 0.0;
    for (found, expected) in found.values().zip(expected.values()) {
        if found.len() != expected.len() {
            return f64::INFINITY;
        }
        for (found, expected) in found.iter().zip(expected) {
            let difference = (found - expected).abs();
            largest = if difference.is_nan() {
                f64::INFINITY
            } else {
                largest.max(difference)
            };
        }
    }
    largest
}
