//! A case as its `case.json` describes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use mac_burn::{MacConfig, WeightDecayForm};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::TraceError;

/// One run of the authors' code: everything about it that is not a tensor.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Case {
    #[serde(rename = "case")]
    pub(crate) name: String,
    pub(crate) official: Official,
    pub(crate) hyper: Hyper,
    pub(crate) lr_per_step: Option<Vec<f64>>,
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    #[serde(default)]
    pub(crate) calibration_batches: Vec<usize>,
    pub(crate) loss: String,
    pub(crate) grad_recorded_at_steps: BTreeSet<usize>,
    pub(crate) update: String,
    pub(crate) architecture: Architecture,
    pub(crate) first_layer: Option<String>,
    pub(crate) param_groups: Vec<ParameterGroup>,
    pub(crate) param_shapes: BTreeMap<String, Vec<usize>>,
    pub(crate) float64_max_abs_diff: f64,
    pub(crate) float64_max_abs_diff_loss: f64,
    pub(crate) float64_max_abs_diff_precond: f64,
    /// No file has this: it is how tests make a mistake.
    #[serde(skip)]
    pub(crate) qkv_means: QkvMeans,
}

/// The means by which attention's projection to queries, keys and values is preconditioned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum QkvMeans {
    /// The mean of the tokens for queries and keys, the attention-weighted one for values: MAC.
    #[default]
    TokensAndAttended,
    /// The mean of the tokens for all three. Attention averaged over the keys in place of the queries
    /// comes to the same: it gives each key the weight `1 / N`.
    Tokens,
    /// The attention-weighted mean for all three.
    Attended,
}

/// Which class of the authors' code made the trace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Official {
    pub(crate) cls: String,
}

/// The constructor arguments of the authors' optimizer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hyper {
    pub(crate) lr: f64,
    pub(crate) momentum: f64,
    pub(crate) stat_decay: f64,
    pub(crate) damping: f64,
    #[serde(rename = "Tcov")]
    pub(crate) tcov: usize,
    #[serde(rename = "Tinv")]
    pub(crate) tinv: usize,
}

/// The network, its layers still unread: a case of another optimizer or architecture may have
/// layers that this harness does not know, and must still be reported by its own name.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Architecture {
    pub(crate) kind: String,
    /// The arguments of timm's constructor, for a network of timm's.
    #[serde(default)]
    pub(crate) timm_args: Map<String, Value>,
    pub(crate) layers: Vec<Value>,
}

/// An architecture that the harness can build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchitectureKind {
    Sequential,
    VisionTransformer,
}

impl Architecture {
    /// The architecture, which `case.json` states in words.
    pub(crate) fn known(&self) -> Result<ArchitectureKind, TraceError> {
        if self.kind.starts_with("nn.Sequential") {
            Ok(ArchitectureKind::Sequential)
        } else if self.kind == "timm VisionTransformer" {
            Ok(ArchitectureKind::VisionTransformer)
        } else {
            Err(TraceError::Unsupported(format!(
                "the architecture `{}` is not known",
                self.kind
            )))
        }
    }
}

/// Parameters that share a weight decay.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ParameterGroup {
    pub(crate) weight_decay: f64,
    pub(crate) params: BTreeSet<String>,
}

impl Case {
    /// Reads `case.json` of a case's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, TraceError> {
        let path = folder.join("case.json");
        let text = fs::read_to_string(&path).map_err(|source| TraceError::Read {
            path: path.clone(),
            source,
        })?;

        serde_json::from_str(&text).map_err(|source| TraceError::Json { path, source })
    }

    /// The learning rate of a step.
    pub(crate) fn lr(&self, step: usize) -> f64 {
        self.lr_per_step
            .as_ref()
            .and_then(|rates| rates.get(step).copied())
            .unwrap_or(self.hyper.lr)
    }

    /// The optimizer's settings, its weight decay and exemptions from it left to the caller.
    pub(crate) fn config(&self) -> Result<MacConfig, TraceError> {
        Ok(MacConfig::new()
            .with_damping(self.hyper.damping)
            .with_stat_decay(self.hyper.stat_decay)
            .with_momentum(self.hyper.momentum)
            .with_tcov(self.hyper.tcov)
            .with_tinv(self.hyper.tinv)
            .with_weight_decay_form(self.weight_decay_form()?))
    }

    /// The update rule, which `case.json` states in words.
    ///
    /// Only `momentum_step` is plain momentum; the authors' `nag_step` takes its first step without
    /// the look-ahead, as no optimizer of this project does.
    fn weight_decay_form(&self) -> Result<WeightDecayForm, TraceError> {
        let momentum = self.update.starts_with("momentum_step");
        let decoupled = self.update.contains("decoupled");
        let coupled = self.update.replace("decoupled", "").contains("coupled");

        match (momentum, decoupled, coupled) {
            (true, true, false) => Ok(WeightDecayForm::Decoupled),
            (true, false, true) => Ok(WeightDecayForm::Coupled),
            _ => Err(TraceError::Unsupported(format!(
                "the update rule `{}` is not known",
                self.update
            ))),
        }
    }

    /// Whether the loss is the one that the harness computes.
    pub(crate) fn check_loss(&self) -> Result<(), TraceError> {
        if self
            .loss
            .starts_with("CrossEntropyLoss (mean over the batch")
        {
            return Ok(());
        }

        Err(TraceError::Unsupported(format!(
            "the loss `{}` is not known",
            self.loss
        )))
    }

    /// The weight decay of a parameter, by its group.
    pub(crate) fn weight_decay(&self, parameter: &str) -> Result<f64, TraceError> {
        self.param_groups
            .iter()
            .find(|group| group.params.contains(parameter))
            .map(|group| group.weight_decay)
            .ok_or_else(|| TraceError::Ungrouped(parameter.to_owned()))
    }

    /// Moves a parameter to a group of its own.
    pub(crate) fn put_in_group(&mut self, parameter: &str, weight_decay: f64) {
        for group in &mut self.param_groups {
            group.params.remove(parameter);
        }
        self.param_groups.push(ParameterGroup {
            weight_decay,
            params: BTreeSet::from([parameter.to_owned()]),
        });
    }
}
