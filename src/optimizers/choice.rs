use std::fmt::{self, Display};

use burn::module::Module;
use burn::tensor::backend::Backend;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use mac_burn::{EvaConfig, KfacConfig, StepForm, unrecorded};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the parameters of recorded layers are stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerStep {
    /// By momentum.
    Momentum,
    /// By a form of MAC's step that has the length of AdamW's, with mean and variance of the inputs; biases by AdamW, and the last
    /// layer beside orthogonal steps.
    Form(StepForm),
    /// By AdamW.
    AdamW,
    /// Weights by Muon, but those of the last layer; these, and biases, by AdamW.
    Muon,
}

/// The curvature that gradients of recorded layers are preconditioned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerCurvature {
    /// MAC's.
    Mac,
    /// SMAC's.
    Smac,
    /// FOOF's.
    Foof,
    /// Eva's.
    Eva,
    /// K-FAC's.
    Kfac,
}

impl LayerCurvature {
    /// The damping of its configuration, where the scale of its statistics is another than that of MAC's.
    pub fn own_damping(self) -> Option<f64> {
        match self {
            Self::Mac | Self::Smac | Self::Foof => None,
            Self::Eva => Some(EvaConfig::new().damping),
            Self::Kfac => Some(KfacConfig::new().damping),
        }
    }

    /// Whether its steps are limited by a KL clip.
    pub fn has_kl_clip(self) -> bool {
        matches!(self, Self::Eva | Self::Kfac)
    }
}

/// An optimizer, as named on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptimizerChoice {
    name: &'static str,
    label: &'static str,
    help: &'static str,
    /// The curvature that the gradients of recorded layers are preconditioned by, if they are.
    pub curvature: Option<LayerCurvature>,
    /// Whether MAC or SMAC preconditions the first layer by the covariance of its inputs, and not by their mean.
    pub input_covariance: bool,
    /// The step of recorded layers.
    pub step: LayerStep,
    /// Whether AdamW, with a learning rate of its own, steps what no recorded layer has: norms, embeddings, positions. Otherwise
    /// that is stepped as recorded layers are.
    pub auxiliary: bool,
}

/// All optimizers. A further one is a further line.
static OPTIMIZERS: [OptimizerChoice; 15] = [
    OptimizerChoice::MAC,
    OptimizerChoice::MAC_ADAMW,
    OptimizerChoice {
        name: "mac-mean-adamw",
        label: "MAC by means + AdamW",
        help: "MAC with all layers by their means, the first too; AdamW for the parameters that MAC does not cover",
        input_covariance: false,
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice {
        name: "mac-in-adamw",
        label: "MAC in front of AdamW",
        help: "AdamW, with gradients preconditioned by MAC",
        curvature: Some(LayerCurvature::Mac),
        input_covariance: true,
        step: LayerStep::AdamW,
        auxiliary: false,
    },
    OptimizerChoice {
        name: "mac-variance",
        label: "MAC by mean and variance + AdamW",
        help: "MAC by mean and variance, with steps of AdamW's length; AdamW for biases and the parameters that MAC does not cover",
        input_covariance: false,
        step: LayerStep::Form(StepForm::Normalized),
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice {
        name: "mac-rows",
        label: "MAC, rows and columns + AdamW",
        help: "The same with rows and columns of the step normalized; AdamW for biases and the parameters that MAC does not cover",
        input_covariance: false,
        step: LayerStep::Form(StepForm::RowsAndColumns),
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice {
        name: "mac-orthogonal",
        label: "MAC, orthogonal + AdamW",
        help: "The same with orthogonal steps for all layers but the last; AdamW for all other parameters",
        input_covariance: false,
        step: LayerStep::Form(StepForm::Orthogonal { iterations: 5 }),
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice {
        name: "smac",
        label: "SMAC + AdamW",
        help: "SMAC: MAC, and gradients divided by their mean squares at each output; AdamW for the parameters that it does not cover",
        curvature: Some(LayerCurvature::Smac),
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice {
        name: "foof",
        label: "FOOF + AdamW",
        help: "FOOF: gradients preconditioned by second moments of inputs; AdamW for the parameters that it does not cover",
        curvature: Some(LayerCurvature::Foof),
        input_covariance: false,
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice {
        name: "eva",
        label: "Eva + AdamW",
        help: "Eva: gradients preconditioned by means of inputs and of output gradients; AdamW for the parameters that it does not cover",
        curvature: Some(LayerCurvature::Eva),
        input_covariance: false,
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice {
        name: "kfac",
        label: "K-FAC + AdamW",
        help: "K-FAC: gradients preconditioned by second moments of inputs and of output gradients; AdamW for the parameters that it does not cover",
        curvature: Some(LayerCurvature::Kfac),
        input_covariance: false,
        ..OptimizerChoice::MAC_ADAMW
    },
    OptimizerChoice::SGD,
    OptimizerChoice {
        name: "sgd-adamw",
        label: "SGD + AdamW",
        help: "SGD with momentum; AdamW for the parameters that MAC does not cover",
        curvature: None,
        input_covariance: false,
        step: LayerStep::Momentum,
        auxiliary: true,
    },
    OptimizerChoice::ADAMW,
    OptimizerChoice {
        name: "muon",
        label: "Muon + AdamW",
        help: "Muon for the weights of all layers but the last; AdamW for all other parameters",
        curvature: None,
        input_covariance: false,
        step: LayerStep::Muon,
        auxiliary: true,
    },
];

impl OptimizerChoice {
    /// MAC for all parameters.
    pub const MAC: Self = Self {
        name: "mac",
        label: "MAC",
        help: "MAC: gradients preconditioned by mean activations, then momentum",
        curvature: Some(LayerCurvature::Mac),
        input_covariance: true,
        step: LayerStep::Momentum,
        auxiliary: false,
    };

    /// MAC, with AdamW for what it does not cover.
    pub const MAC_ADAMW: Self = Self {
        name: "mac-adamw",
        label: "MAC + AdamW",
        help: "MAC; AdamW for the parameters that MAC does not cover",
        auxiliary: true,
        ..Self::MAC
    };

    /// SGD with momentum.
    pub const SGD: Self = Self {
        name: "sgd",
        label: "SGD",
        help: "SGD with momentum",
        curvature: None,
        input_covariance: false,
        step: LayerStep::Momentum,
        auxiliary: false,
    };

    /// AdamW.
    pub const ADAMW: Self = Self {
        name: "adamw",
        label: "AdamW",
        help: "AdamW",
        step: LayerStep::AdamW,
        ..Self::SGD
    };

    /// The name on a command line.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether gradients of recorded layers are preconditioned.
    pub fn is_preconditioned(self) -> bool {
        self.curvature.is_some()
    }

    /// The same optimizer without its preconditioner; none if it has none, or there is no such optimizer.
    pub fn without_preconditioner(self) -> Option<Self> {
        let same = |other: &&Self| {
            !other.is_preconditioned()
                && (other.step, other.auxiliary) == (self.step, self.auxiliary)
        };
        let found = OPTIMIZERS.iter().find(same).copied();
        found.filter(|_| self.is_preconditioned())
    }

    /// The list without those that would train a network exactly as another of it does. Where there are no parameters of no recorded layer, an
    /// AdamW beside MAC or SGD steps nothing; where the first layer's inputs are not measured, MAC has only means.
    pub fn distinct(list: &[Self], has_rest: bool, measures_inputs: bool) -> Vec<Self> {
        let training = |choice: &Self| {
            let covariance = choice.input_covariance && measures_inputs;
            let auxiliary = choice.auxiliary && (has_rest || choice.step != LayerStep::Momentum);
            (choice.curvature, covariance, choice.step, auxiliary)
        };
        let is_first = |choice: &&Self| {
            let same = |other: &&Self| training(other) == training(choice);
            // That with AdamW, which the same optimizer has on other networks.
            let with_adamw = list.iter().filter(same).find(|other| other.auxiliary);
            with_adamw.or_else(|| list.iter().find(same)) == Some(choice)
        };
        list.iter().filter(is_first).copied().collect()
    }

    /// The network that it trains: without recorders unless gradients are preconditioned. Until a preconditioner pauses them, each forward pass pays
    /// for sums that no other optimizer takes.
    pub fn prepare<B: Backend, M: Module<B>>(self, network: M) -> M {
        match self.is_preconditioned() {
            true => network,
            false => unrecorded(network),
        }
    }
}

impl ValueEnum for OptimizerChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &OPTIMIZERS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.help))
    }
}

impl Display for OptimizerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)
    }
}

impl Serialize for OptimizerChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for OptimizerChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_str(&name, false).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Training;
    use mac_burn::{Coverage, Mac, MacConfig};
    use mac_burn_models::{Mlp, MlpConfig};

    #[test]
    fn only_preconditioners_train_a_network_with_recorders() {
        for choice in OptimizerChoice::value_variants() {
            let network: Mlp<Training> = MlpConfig::new(vec![3, 2]).init(&Default::default());
            let mac: Mac<Mlp<Training>, Training> = MacConfig::new().init();
            let found = mac.report(&choice.prepare(network)).layers[0].coverage;
            let without = ["sgd", "sgd-adamw", "adamw", "muon"];
            let expected = match !without.contains(&choice.name) {
                true => Coverage::NothingRecorded,
                false => Coverage::NoRecorder,
            };
            assert_eq!(found, expected, "{choice}");
        }
    }

    /// Breaks when an optimizer is left out that trains otherwise than those that stay, or one stays twice.
    #[test]
    fn optimizers_that_train_alike_are_one() {
        let names = |has_rest, measures_inputs| -> Vec<&str> {
            let distinct = OptimizerChoice::distinct(&OPTIMIZERS, has_rest, measures_inputs);
            distinct.into_iter().map(OptimizerChoice::name).collect()
        };
        let all: Vec<&str> = OPTIMIZERS.iter().map(|choice| choice.name).collect();
        assert_eq!(names(true, true), all);
        let without = |dropped: &[&str]| -> Vec<&str> {
            let all = all.iter().filter(|name| !dropped.contains(name));
            all.copied().collect()
        };
        assert_eq!(names(false, true), without(&["mac", "sgd"]));
        assert_eq!(names(true, false), without(&["mac-mean-adamw"]));
        let two = [OptimizerChoice::SGD, OptimizerChoice::MAC];
        assert_eq!(OptimizerChoice::distinct(&two, false, true), two);
    }

    #[test]
    fn an_optimizer_is_stored_by_its_name() {
        for choice in OptimizerChoice::value_variants() {
            let text = serde_json::to_string(choice).expect("it is a text");
            assert_eq!(text, format!("\"{}\"", choice.name));
            let read: OptimizerChoice = serde_json::from_str(&text).expect("it is a name");
            assert_eq!(read, *choice);
        }
    }
}
