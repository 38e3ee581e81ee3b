//! The optimizers that the examples compare.

use std::fmt::{self, Display};

use burn::module::Module;
use burn::tensor::backend::Backend;
use clap::ValueEnum;
use mac_burn::unrecorded;
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

impl OptimizerChoice {
    /// The network that it trains: without recorders unless it is MAC. Until a MAC pauses them, each forward pass pays for
    /// sums that no other optimizer takes.
    pub fn prepare<B: Backend, M: Module<B>>(self, network: M) -> M {
        match self {
            Self::Mac => network,
            Self::Sgd | Self::Adamw => unrecorded(network),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Training;
    use mac_burn::{Coverage, Mac, MacConfig};
    use mac_burn_models::{Mlp, MlpConfig};

    #[test]
    fn only_mac_trains_a_network_with_recorders() {
        let coverage = |choice: OptimizerChoice| {
            let network: Mlp<Training> = MlpConfig::new(vec![3, 2]).init(&Default::default());
            let mac: Mac<Mlp<Training>, Training> = MacConfig::new().init();
            mac.report(&choice.prepare(network)).layers[0].coverage
        };
        assert_eq!(coverage(OptimizerChoice::Mac), Coverage::NothingRecorded);
        assert_eq!(coverage(OptimizerChoice::Sgd), Coverage::NoRecorder);
        assert_eq!(coverage(OptimizerChoice::Adamw), Coverage::NoRecorder);
    }
}
