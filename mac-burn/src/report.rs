mod uncovered;

pub use uncovered::{UncoveredParameter, UncoveredReason};
pub(crate) use uncovered::{lines_by_reason, uncovered};

use crate::curvature::CurvatureReport;
use crate::inventory::{Inventory, Parameter};
use crate::layer::Layer;
use crate::{AuxiliaryOptimizerReport, MacPreconditioner};
use burn::module::ParamId;
use burn::tensor::backend::AutodiffBackend;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// A report of the layers that an optimizer covers, the updates that it has seen, and the bytes that it keeps. It is made by
/// [`Mac::report`](crate::Mac::report), or of a checkpoint by [`MacRecord::report`](crate::MacRecord::report).
///
/// `Display` prints a table with one row a layer: the fields of a [`LayerReport`], with `-` where there is none. Its column
/// `‖x̄‖²` is without the 1 of a bias. Below it are the parameters that belong to no recorded layer, by reason, with the paths of the first few of each.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The layers with weights, in the order of the module.
    pub layers: Vec<LayerReport>,
    /// Parameters whose gradients are preconditioned.
    pub covered_parameters: usize,
    /// All parameters that are trained.
    pub parameters: usize,
    /// The parameters that are trained and belong to no recorded layer, in the order of the module. Those of layers that the configuration
    /// skips, that saw no pass, or whose biases are an auxiliary optimizer's, are not among them.
    pub uncovered: Vec<UncoveredParameter>,
    /// Bytes of the momentum buffers; 0 for a preconditioner alone.
    pub momentum_bytes: usize,
    /// Bytes of the statistics that the optimizer keeps and of what it derived from them. What
    /// recorders hold is not among them.
    pub statistics_bytes: usize,
    /// The parameters of an auxiliary optimizer, if there is one. Its state is not among the bytes above, since
    /// Burn does not tell its size.
    pub auxiliary_optimizer: Option<AuxiliaryOptimizerReport>,
}

/// One layer of a [`Report`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerReport {
    /// The names of the fields down to the layer, joined by dots.
    pub path: String,
    /// The treatment of its gradients.
    pub coverage: Coverage,
    /// `Linear`, `Linear (qkv)`, `Embedding` or the name of a convolution for a recorded layer, otherwise the shape of the weight.
    pub kind: String,
    /// Elements of one input: features, those of a patch (of one group), the channels (of one group) that a transposed convolution sees at a
    /// position, or the tokens that an embedding knows.
    pub size_input: Option<usize>,
    /// Output features or channels; of a transposed convolution the elements of the patch that a position adds to, of all groups.
    pub size_output: Option<usize>,
    /// Recorded batches offered to the moving average. One that was all padding is among them, though it
    /// has no mean and leaves the average as it is. 0 for layers that are preconditioned by an input covariance, or not at all.
    pub updates: u64,
    /// Updates that held a NaN or infinity and were left out. A batch that was all padding is none of
    /// these.
    pub rejected: u64,
    /// The step, counted from 1, in which what is in use was last made of the moving averages: means, or inverses. None where nothing is in use
    /// that was,
    /// and until the next refresh where a record of version 1 was loaded, which does not hold it.
    pub last_refresh: Option<u64>,
    /// `‖x̄‖²` of the mean in use, without the 1 that a bias adds to `‖ā‖²`; the mean over groups, or over the two means of
    /// attention.
    pub mean_norm_squared: Option<f64>,
    /// `ρ / (ρ + ‖x̄‖²)`, the share of a gradient along the mean input that is kept, without a bias. With one it is
    /// `ρ / (ρ + ‖x̄‖² + 1)` along `[x̄ ; 1]`. By mean and variance it is `1 / (1 + x̄ᵀ diag(d)⁻¹ x̄)`, see
    /// [`InputCurvature`](crate::InputCurvature).
    pub gain: Option<f64>,
    /// `‖ā‖² / E‖a‖²` of the moving averages, in [0, 1]: the share of the inputs' second moment that their mean explains. Here `a` is
    /// `[x ; 1]` with a bias, and `x` without. It is that of all means of a layer together; for attended values an
    /// approximation, since squares are averaged as the mean is, probabilities and values apart. See the
    /// [guide](crate::guide#damping) for what it tells.
    pub mean_share: Option<f64>,
    /// Whether the layer makes attention's values and was recorded by a [backend that records](crate::recording_backend). That sees tokens and no attention, so the
    /// mean is that of the tokens, and not weighted by the attention probabilities as that of a recorded layer is.
    pub mean_of_tokens: bool,
    /// Inversions of a dense curvature that needed more damping than the setting, as the matrix was not positive definite.
    pub retried_inversions: u64,
    /// Inversions that did not succeed with more damping either, after which the last inverse stayed in use.
    pub failed_inversions: u64,
}

/// The treatment of a layer's gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// Preconditioned by its mean activation.
    MeanActivation,
    /// Preconditioned by the mean and the variances of its inputs.
    MeanAndVariance,
    /// Preconditioned by its measured input covariance.
    InputCovariance,
    /// Preconditioned by its mean activation, and on the output side by the mean squares of gradients (SMAC).
    MeanActivationAndOutputSquares,
    /// Preconditioned by the second moment of its inputs (FOOF).
    InputSecondMoment,
    /// Preconditioned by the means of its inputs and of the gradients at its outputs (Eva).
    MeansOfBothSides,
    /// Preconditioned by the second moments of its inputs and of the gradients at its outputs (K-FAC).
    KroneckerFactors,
    /// An embedding whose rows are preconditioned by the frequencies of their tokens.
    TokenFrequencies,
    /// A recorded embedding, which is left alone on purpose unless the configuration has an
    /// [`embedding_damping`](crate::MacConfig::embedding_damping).
    EmbeddingLeftAlone,
    /// Left alone, since no forward pass of it was recorded.
    NothingRecorded,
    /// Left alone by the configuration.
    Skipped,
    /// Left alone, since the layer has no recorder.
    NoRecorder,
}

impl Coverage {
    fn is_preconditioned(self) -> bool {
        !matches!(
            self,
            Self::EmbeddingLeftAlone | Self::NothingRecorded | Self::Skipped | Self::NoRecorder
        )
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MeanActivation => "mean activation",
            Self::MeanAndVariance => "mean and variance",
            Self::InputCovariance => "input covariance",
            Self::MeanActivationAndOutputSquares => "mean activation, output squares",
            Self::InputSecondMoment => "input second moment",
            Self::MeansOfBothSides => "means of both sides",
            Self::KroneckerFactors => "Kronecker factors",
            Self::TokenFrequencies => "token frequencies",
            Self::EmbeddingLeftAlone => "none (embedding)",
            Self::NothingRecorded => "nothing recorded",
            Self::Skipped => "skipped",
            Self::NoRecorder => "no recorder",
        })
    }
}

impl Report {
    pub(crate) fn new<B: AutodiffBackend>(
        inventory: &Inventory<B>,
        preconditioner: &MacPreconditioner<B>,
    ) -> Self {
        let curvatures = preconditioner.curvatures().iter();
        let reporter = Reporter {
            inventory,
            preconditioner,
            layers: preconditioner
                .known_layers(inventory)
                .map(|layer| (layer.weight, layer))
                .collect(),
            curvatures: curvatures
                .map(|(weight, curvature)| (*weight, curvature.report()))
                .collect(),
        };
        for (weight, report) in &reporter.curvatures {
            preconditioner.warn_if_mostly_rejected(*weight, report.batches);
        }
        let biases: HashSet<ParamId> = reporter
            .layers
            .values()
            .filter_map(|layer| layer.bias)
            .collect();
        let weights = inventory.parameters.iter().filter(|parameter| {
            let recorded = reporter.layers.contains_key(&parameter.id);
            (recorded || parameter.shape.len() > 1) && !biases.contains(&parameter.id)
        });
        let trained = inventory
            .parameters
            .iter()
            .filter(|parameter| parameter.trained);
        let bytes = reporter.curvatures.values().map(|report| report.bytes);
        Self {
            layers: weights.map(|weight| reporter.layer(weight)).collect(),
            covered_parameters: reporter.covered_parameters(),
            parameters: trained.map(Parameter::num_elements).sum(),
            uncovered: uncovered(inventory, reporter.layers.values().copied()),
            momentum_bytes: 0,
            statistics_bytes: bytes.sum(),
            auxiliary_optimizer: None,
        }
    }

    /// The share of parameters whose gradients are preconditioned, in [0, 1].
    pub fn coverage(&self) -> f64 {
        self.covered_parameters as f64 / self.parameters.max(1) as f64
    }
}

struct Reporter<'a, B: AutodiffBackend> {
    inventory: &'a Inventory<B>,
    preconditioner: &'a MacPreconditioner<B>,
    /// The layers that can be preconditioned, by weight.
    layers: BTreeMap<ParamId, Layer>,
    curvatures: BTreeMap<ParamId, CurvatureReport>,
}

impl<B: AutodiffBackend> Reporter<'_, B> {
    fn layer(&self, weight: &Parameter<B>) -> LayerReport {
        let kind = self.layers.get(&weight.id).map(|layer| layer.kind);
        let curvature = self.curvatures.get(&weight.id);
        let coverage = self.coverage(weight);
        let in_use = curvature.filter(|_| coverage.is_preconditioned());
        LayerReport {
            path: weight.layer_path().to_string(),
            coverage,
            kind: kind.map_or_else(
                || format!("{:?}", weight.shape),
                |kind| kind.name().to_string(),
            ),
            size_input: kind.map(|kind| kind.means_and_size(&weight.shape).1),
            size_output: kind.map(|kind| kind.size_output(&weight.shape)),
            updates: curvature.map_or(0, |report| report.batches.offered),
            rejected: curvature.map_or(0, |report| report.batches.rejected),
            last_refresh: in_use.and_then(|report| report.last_refresh),
            mean_norm_squared: in_use.and_then(|report| report.mean_norm_squared),
            gain: in_use.and_then(|report| report.gain),
            mean_share: in_use
                .filter(|report| report.mean_norm_squared.is_some())
                .and_then(|report| report.mean_share),
            mean_of_tokens: in_use.is_some()
                && self.inventory.is_recorded_by_backend(weight.id)
                && makes_attended_values(weight),
            retried_inversions: curvature.map_or(0, |report| report.inversions.retried),
            failed_inversions: curvature.map_or(0, |report| report.inversions.failed),
        }
    }

    fn coverage(&self, weight: &Parameter<B>) -> Coverage {
        let Some(layer) = self.layers.get(&weight.id) else {
            return Coverage::NoRecorder;
        };
        if self.preconditioner.skips(weight.layer_path()) {
            Coverage::Skipped
        } else if self
            .preconditioner
            .leaves_alone(*layer, weight.layer_path())
        {
            Coverage::EmbeddingLeftAlone
        } else if let Some(report) = self.curvatures.get(&weight.id) {
            report.coverage
        } else {
            Coverage::NothingRecorded
        }
    }

    fn covered_parameters(&self) -> usize {
        let covered =
            self.inventory.parameters.iter().filter(|parameter| {
                parameter.trained && self.coverage(parameter).is_preconditioned()
            });
        covered
            .map(|weight| {
                let layer = self.layers.get(&weight.id);
                let curvature = self.curvatures.get(&weight.id);
                let covers_bias = curvature.is_some_and(|report| report.covers_bias);
                let bias = layer.and_then(|layer| layer.bias.filter(|_| covers_bias));
                let bias = bias.and_then(|bias| self.inventory.parameter(bias));
                let bias = bias.filter(|bias| bias.trained);
                weight.num_elements() + bias.map_or(0, Parameter::num_elements)
            })
            .sum()
    }
}

/// Whether the layer of this weight makes attention's values, by its name and those of the types that hold it.
fn makes_attended_values<B: AutodiffBackend>(weight: &Parameter<B>) -> bool {
    let holders = weight.containers.split('.').rev().skip(1);
    let mut holders = holders.map(|holder| holder.to_lowercase());
    let layer = weight.layer_path().rsplit('.').next().unwrap_or_default();
    let mut words = layer.split('_');
    words.any(|word| matches!(word, "v" | "value" | "values" | "kv" | "qkv"))
        && holders.any(|holder| holder.contains("attention") || holder.contains("attn"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header([
            "layer",
            "kind",
            "in",
            "out",
            "preconditioned by",
            "updates",
            "rejected",
            "last refresh",
            "‖x̄‖²",
            "gain",
            "mean's share",
        ]);
        for layer in &self.layers {
            let size = |size: Option<usize>| size.map_or("-".into(), |size| size.to_string());
            let number =
                |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
            table.add_row([
                layer.path.clone(),
                layer.kind.clone(),
                size(layer.size_input),
                size(layer.size_output),
                layer.coverage.to_string(),
                layer.updates.to_string(),
                layer.rejected.to_string(),
                layer
                    .last_refresh
                    .map_or("-".into(), |step| step.to_string()),
                number(layer.mean_norm_squared),
                number(layer.gain),
                number(layer.mean_share),
            ]);
        }
        for column in [2, 3, 5, 6, 7, 8, 9, 10] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        for layer in &self.layers {
            let (retried, failed) = (layer.retried_inversions, layer.failed_inversions);
            if retried + failed > 0 {
                let path = &layer.path;
                writeln!(
                    f,
                    "`{path}`: {retried} inversions with more damping, {failed} failed"
                )?;
            }
        }
        let of_tokens = self.layers.iter().filter(|layer| layer.mean_of_tokens);
        let of_tokens: Vec<_> = of_tokens.map(|layer| format!("`{}`", layer.path)).collect();
        if !of_tokens.is_empty() {
            writeln!(
                f,
                "means of tokens, without attention's probabilities: {}",
                of_tokens.join(", ")
            )?;
        }
        writeln!(
            f,
            "{} of {} parameters preconditioned ({:.1} %)",
            self.covered_parameters,
            self.parameters,
            100.0 * self.coverage()
        )?;
        if !self.uncovered.is_empty() {
            writeln!(f, "in no recorded layer:")?;
            for line in lines_by_reason(&self.uncovered) {
                writeln!(f, "- {line}")?;
            }
        }
        if let Some(auxiliary) = &self.auxiliary_optimizer {
            let share = 100.0 * auxiliary.parameters as f64 / self.parameters.max(1) as f64;
            writeln!(f, "{auxiliary} ({share:.1} %)")?;
        }
        write!(
            f,
            "state: momentum {} bytes, statistics {} bytes",
            self.momentum_bytes, self.statistics_bytes
        )
    }
}
