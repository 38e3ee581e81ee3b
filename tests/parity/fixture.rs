//! A fixture as its file has it.

use serde::Deserialize;

use crate::{
    construction::{Arguments, Construction},
    counts::Size,
    error::ParityError,
};

/// One network of PyTorch: how it was made and filled, what went in and what came out.
#[derive(Debug, Deserialize)]
pub(crate) struct Fixture {
    pub(crate) name: String,
    source: Source,
    construction: Arguments,
    pub(crate) counts: Size,
    pub(crate) parameters: Vec<Filled>,
    pub(crate) float_buffers: Vec<Filled>,
    pub(crate) input: Input,
    pub(crate) targets: Targets,
    pub(crate) eval: Pass,
    pub(crate) train: Training,
    pub(crate) tolerance: Tolerances,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Source {
    /// A callable in a file of the authors' repository.
    Official { file: String, callable: String },
    /// A model of timm.
    Timm { model: String },
    /// A model of torchvision.
    Torchvision { model: String },
}

/// A tensor and the numbers that its values are made of: `offset + amplitude · wave^power`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Filled {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) offset: f64,
    pub(crate) amplitude: f64,
    pub(crate) power: u32,
    /// The sum of the values, in 14 digits.
    pub(crate) fill_sum: f64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
pub(crate) enum Input {
    /// An image of the wave of a name.
    Wave {
        name: String,
        shape: Vec<usize>,
        sum: f64,
    },
    /// Tokens, made of a polynomial; its values are in the file too.
    Tokens { shape: Vec<usize>, tokens: Vec<i64> },
}

#[derive(Debug, Deserialize)]
pub(crate) struct Targets {
    pub(crate) values: Vec<i64>,
}

/// The results of a forward pass in evaluation mode.
#[derive(Debug, Deserialize)]
pub(crate) struct Pass {
    /// In single precision, and so many decimals that the nearest number of it is the right one.
    pub(crate) logits: Vec<f32>,
    pub(crate) f64_check: DoubleCheck,
    pub(crate) loss: f64,
}

/// The results of a training step.
#[derive(Debug, Deserialize)]
pub(crate) struct Training {
    logits: TrainingLogits,
    pub(crate) f64_check: DoubleCheck,
    pub(crate) loss: f64,
    pub(crate) gradients: Vec<Gradient>,
    pub(crate) bn_after_train: Vec<RunningStatistics>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TrainingLogits {
    Own(Vec<f32>),
    Stated(Stated),
}

#[derive(Debug, Deserialize)]
enum Stated {
    #[serde(rename = "same as eval")]
    SameAsEvaluation,
}

/// Numbers of the logits in all digits; the logits themselves are stored in single precision.
#[derive(Debug, Deserialize)]
pub(crate) struct DoubleCheck {
    pub(crate) sum: f64,
    pub(crate) sum_of_squares: f64,
    pub(crate) first8: Vec<f64>,
}

/// The gradient of the mean loss for one parameter, in PyTorch's layout.
#[derive(Debug, Deserialize)]
pub(crate) struct Gradient {
    pub(crate) name: String,
    pub(crate) l2: f64,
    pub(crate) dot_with_wave: f64,
    pub(crate) first4: Vec<f64>,
}

/// The running statistics of a norm after the forward pass in training mode.
#[derive(Debug, Deserialize)]
pub(crate) struct RunningStatistics {
    pub(crate) name: String,
    pub(crate) l2_running_mean: f64,
    pub(crate) l2_running_var: f64,
    pub(crate) running_mean_0: f64,
    pub(crate) running_var_0: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Tolerances {
    pub(crate) f64: Tolerance,
    pub(crate) f32: Tolerance,
}

/// The largest differences of a run in one precision: the file's own numbers, see the README of the fixtures.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Tolerance {
    pub(crate) logits_abs: f64,
    pub(crate) loss_abs: f64,
    pub(crate) grad_l2_rel: f64,
    pub(crate) grad_element_of_l2: f64,
    pub(crate) bn_l2_rel: f64,
}

impl Fixture {
    /// How the network was made.
    pub(crate) fn construction(&self) -> Construction {
        let source = match &self.source {
            Source::Official { file, callable } => format!("{file}:{callable}"),
            Source::Timm { model } => format!("timm:{model}"),
            Source::Torchvision { model } => format!("torchvision:{model}"),
        };

        Construction::new(&source, self.construction.clone())
    }

    /// All tensors that are filled.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Filled> {
        self.parameters.iter().chain(&self.float_buffers)
    }

    /// The tensor of a name.
    pub(crate) fn tensor(&self, name: &str) -> Result<&Filled, ParityError> {
        let found = self.tensors().find(|tensor| tensor.name == name);

        found.ok_or_else(|| ParityError::Extra(name.to_owned()))
    }

    /// The logits in training mode.
    pub(crate) fn training_logits(&self) -> &[f32] {
        match &self.train.logits {
            TrainingLogits::Own(logits) => logits,
            TrainingLogits::Stated(Stated::SameAsEvaluation) => &self.eval.logits,
        }
    }
}
