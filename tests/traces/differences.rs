//! How far a replay is from its trace.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::error::TraceError;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Quantity {
    /// The inverse of the damped covariance of the first layer's input.
    InputCovariance,
    /// Attention averaged over batch, heads and queries, as the network's parameters give it.
    Attention,
    Loss,
    /// The gradient before preconditioning: not MAC's, but what tells a wrong network from a wrong
    /// optimizer.
    Gradient,
    Preconditioned,
    Ema,
    /// Parameters, and the running means among the buffers.
    Parameter,
}

impl Quantity {
    /// Every quantity, in the order of the table.
    pub(crate) const ALL: [Self; 7] = [
        Self::InputCovariance,
        Self::Attention,
        Self::Loss,
        Self::Gradient,
        Self::Preconditioned,
        Self::Ema,
        Self::Parameter,
    ];

    /// The name in the table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::InputCovariance => "input cov.",
            Self::Attention => "attention",
            Self::Loss => "loss",
            Self::Gradient => "gradient",
            Self::Preconditioned => "precond.",
            Self::Ema => "EMA",
            Self::Parameter => "parameter",
        }
    }
}

/// The largest absolute difference of a quantity, in proportion to what is allowed there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worst {
    pub(crate) difference: f64,
    pub(crate) allowed: f64,
    at: String,
}

impl Worst {
    /// Whether the difference is more than rounding explains.
    pub(crate) fn exceeds(&self) -> bool {
        self.difference > self.allowed
    }
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} differs by {:.1e}, where {:.1e} is allowed",
            self.at, self.difference, self.allowed
        )
    }
}

/// The largest difference of each quantity that was compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Differences {
    worst: BTreeMap<Quantity, Worst>,
}

impl Differences {
    /// Compares the values that the trace has at `at` with those found.
    pub(crate) fn compare(
        &mut self,
        quantity: Quantity,
        at: &str,
        expected: &[f64],
        found: &[f64],
        allowed: f64,
    ) -> Result<(), TraceError> {
        if expected.len() != found.len() {
            return Err(TraceError::Length {
                name: at.to_owned(),
                expected: expected.len(),
                found: found.len(),
            });
        }
        let difference = largest_difference(expected, found);
        let worse = self
            .worst
            .get(&quantity)
            .is_none_or(|worst| difference / allowed > worst.difference / worst.allowed);
        if worse {
            let at = at.to_owned();
            self.worst.insert(
                quantity,
                Worst {
                    difference,
                    allowed,
                    at,
                },
            );
        }

        Ok(())
    }

    /// The largest difference of a quantity, if it was compared.
    pub(crate) fn worst(&self, quantity: Quantity) -> Option<&Worst> {
        self.worst.get(&quantity)
    }

    /// The differences that are more than rounding explains.
    pub(crate) fn exceeding(&self) -> impl Iterator<Item = (Quantity, &Worst)> {
        self.worst
            .iter()
            .filter(|(_, worst)| worst.exceeds())
            .map(|(quantity, worst)| (*quantity, worst))
    }
}

/// Not-a-number and infinity count as the largest number that JSON carries between processes.
fn largest_difference(expected: &[f64], found: &[f64]) -> f64 {
    let differences = expected.iter().zip(found).map(|(e, f)| (e - f).abs());

    differences.fold(0.0, |largest, difference| {
        if difference.is_finite() {
            f64::max(largest, difference)
        } else {
            f64::MAX
        }
    })
}
