//! How far a network's numbers are from a fixture's.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A kind of numbers that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Quantity {
    Logits,
    /// In double precision: logits that the fixture has in all digits, and their sums.
    LogitsInFull,
    Loss,
    TrainingLogits,
    TrainingLoss,
    /// The norms of gradients, relative to themselves.
    GradientNorm,
    /// The first elements of gradients and their products with the wave, relative to their norms.
    Gradient,
    /// The running means of norms after a training step: their norms and first elements, relative to the norms.
    RunningMean,
    /// Their running variances, likewise, once they are PyTorch's.
    RunningVariance,
}

impl Quantity {
    /// Every quantity, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::Logits,
        Self::LogitsInFull,
        Self::Loss,
        Self::TrainingLogits,
        Self::TrainingLoss,
        Self::GradientNorm,
        Self::Gradient,
        Self::RunningMean,
        Self::RunningVariance,
    ];

    /// The name in the table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::LogitsInFull => "logits in full",
            Self::Loss => "loss",
            Self::TrainingLogits => "train logits",
            Self::TrainingLoss => "train loss",
            Self::GradientNorm => "gradient norm",
            Self::Gradient => "gradient",
            Self::RunningMean => "running mean",
            Self::RunningVariance => "running variance",
        }
    }
}

/// The largest difference of a quantity, in proportion to what is allowed there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Worst {
    pub(crate) difference: f64,
    pub(crate) allowed: f64,
    at: String,
}

impl Worst {
    /// Whether the difference is more than rounding explains.
    pub(crate) fn exceeds(&self) -> bool {
        self.ratio() > 1.0
    }

    /// The difference in multiples of what is allowed.
    pub(crate) fn ratio(&self) -> f64 {
        self.difference / self.allowed
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
    /// Takes in a difference; what is infinite or not a number, for which JSON has no word, counts as the largest number.
    pub(crate) fn add(&mut self, quantity: Quantity, at: &str, difference: f64, allowed: f64) {
        let found = Worst {
            difference: difference.abs().min(f64::MAX),
            allowed,
            at: at.to_owned(),
        };
        let worst = self.worst.get(&quantity);
        if worst.is_none_or(|worst| found.ratio() > worst.ratio()) {
            self.worst.insert(quantity, found);
        }
    }

    /// The largest difference of a quantity, if it was compared.
    pub(crate) fn worst(&self, quantity: Quantity) -> Option<&Worst> {
        self.worst.get(&quantity)
    }

    /// The difference that is the largest in proportion to what is allowed.
    pub(crate) fn largest(&self) -> Option<&Worst> {
        let worst = self.worst.values();

        worst.max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
    }

    /// The differences that are more than rounding explains.
    pub(crate) fn exceeding(&self) -> impl Iterator<Item = (Quantity, &Worst)> {
        let all = self.worst.iter();

        all.filter(|(_, worst)| worst.exceeds())
            .map(|(quantity, worst)| (*quantity, worst))
    }
}
