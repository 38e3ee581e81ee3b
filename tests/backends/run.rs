use crate::bits::Bits;
use crate::bounds::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Values by step and name of the parameter: `007.fc1.weight`.
pub(crate) type Parameters = BTreeMap<String, Vec<Bits>>;

/// The parameters that training came to, step by step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) parameters: Parameters,
}

/// A run with a mistake.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MistakenRun {
    /// The run that it would be without.
    pub(crate) case: String,
    pub(crate) what: String,
    /// Those after the last step, perhaps with those after others.
    pub(crate) parameters: Parameters,
}

/// The name in [`Parameters`] of a parameter after a step.
pub(crate) fn after_step(step: usize, name: &str) -> String {
    format!("{step:03}.{name}")
}

/// The parameters after the last step.
pub(crate) fn last_step(parameters: &Parameters) -> Parameters {
    let step = |name: &str| name.split('.').next().map(str::to_string);
    let last = parameters.keys().next_back().and_then(|name| step(name));
    let of_step = parameters.iter().filter(|(name, _)| step(name) == last);
    of_step
        .map(|(name, values)| (name.clone(), values.clone()))
        .collect()
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
        let pairs = found.iter().zip(expected);
        largest = largest.max(largest_of(
            pairs.map(|(found, expected)| (found.0 - expected.0).abs()),
        ));
    }
    largest
}

/// The largest of these; infinite where one is not a number, which `f64::max` would leave out.
pub(crate) fn largest_of(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |largest, value| match value.is_nan() {
        true => f64::INFINITY,
        false => largest.max(value),
    })
}
