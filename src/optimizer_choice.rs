//! The optimizers that the examples compare.

use std::fmt::{self, Display};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// An optimizer, as named on a command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum OptimizerChoice {
    /// MAC: gradients preconditioned by mean activations, then momentum
    #[default]
    Mac,
    /// SGD with momentum
    Sgd,
    /// AdamW
    Adamw,
}

impl Display for OptimizerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mac => "MAC",
            Self::Sgd => "SGD",
            Self::Adamw => "AdamW",
        })
    }
}
