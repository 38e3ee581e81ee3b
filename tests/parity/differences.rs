//! The kinds of numbers that are compared.

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

/// The largest difference of each quantity that was compared.
pub(crate) type Differences = mac_burn_tests::Differences<Quantity>;
