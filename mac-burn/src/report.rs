use crate::curvature::Curvature;
use crate::record::layer::LayerParameters;
use crate::survey::{Parameter, Survey};
use crate::{MacPreconditioner, SecondOptimizerReport};
use burn::module::ParamId;
use burn::tensor::backend::{AutodiffBackend, Backend};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use std::collections::HashSet;
use std::fmt;

/// What an optimizer covers of a module, what it has seen, and what it keeps.
///
/// `Display` prints a table with one row a layer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The layers with weights, in the order of the module.
    pub layers: Vec<LayerReport>,
    /// Parameters whose gradients are preconditioned.
    pub covered_parameters: usize,
    /// All parameters that are trained.
    pub parameters: usize,
    /// Bytes of the momentum buffers; 0 for a preconditioner alone.
    pub momentum_bytes: usize,
    /// Bytes of the statistics that the optimizer keeps and of what it derived from them. What
    /// recorders hold is not among them.
    pub statistics_bytes: usize,
    /// What goes to a second optimizer, if there is one. Its state is not among the bytes above, since
    /// Burn does not tell its size.
    pub second_optimizer: Option<SecondOptimizerReport>,
}

/// One layer of a [`Report`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerReport {
    /// The names of the fields down to the layer, joined by dots.
    pub path: String,
    /// What is done with its gradients.
    pub coverage: Coverage,
    /// `Linear`, `Linear (qkv)` or `Conv2d` for a recorded layer, otherwise the shape of the weight.
    pub kind: String,
    /// Elements of one input: features, or of a patch (of one group).
    pub size_input: Option<usize>,
    /// Output features or channels.
    pub size_output: Option<usize>,
    /// Recorded batches offered to the moving average. One that was all padding is among them, though it
    /// has no mean and leaves the average as it is.
    pub updates: u64,
    /// How many of them held a NaN or infinity and were left out. A batch that was all padding is none of
    /// these.
    pub rejected: u64,
    /// `‖x̄‖²` of the mean in use; the mean over groups, or over the two means of attention.
    pub mean_norm_squared: Option<f64>,
    /// `ρ / (ρ + ‖x̄‖²)`: what is left of a gradient along the mean input, without a bias.
    pub gain: Option<f64>,
}

/// What an optimizer does with a layer's gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Preconditioned by its mean activation.
    MeanActivation,
    /// Preconditioned by its measured input covariance.
    InputCovariance,
    /// Left alone, since no forward pass of it was recorded.
    NothingRecorded,
    /// Left alone by the configuration.
    Skipped,
    /// Left alone, since the layer has no recorder.
    NoRecorder,
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MeanActivation => "mean activation",
            Self::InputCovariance => "input covariance",
            Self::NothingRecorded => "nothing recorded",
            Self::Skipped => "skipped",
            Self::NoRecorder => "no recorder",
        })
    }
}

impl Report {
    pub(crate) fn new<B: AutodiffBackend>(
        survey: &Survey<B>,
        preconditioner: &MacPreconditioner<B>,
    ) -> Self {
        let reporter = Reporter {
            survey,
            preconditioner,
        };
        let biases = reporter.recorded_biases();
        let weights = survey.parameters.iter().filter(|parameter| {
            let recorded = reporter.recorded(parameter.id).is_some();
            (recorded || parameter.shape.len() > 1) && !biases.contains(&parameter.id)
        });
        let trained = survey
            .parameters
            .iter()
            .filter(|parameter| parameter.trained);
        let statistics = preconditioner.layers().values().map(Curvature::bytes);
        let dense = preconditioner.dense().values().map(|dense| dense.bytes());
        Self {
            layers: weights.map(|weight| reporter.layer(weight)).collect(),
            covered_parameters: reporter.covered_parameters(),
            parameters: trained.map(Parameter::num_elements).sum(),
            momentum_bytes: 0,
            statistics_bytes: statistics.sum::<usize>() + dense.sum::<usize>(),
            second_optimizer: None,
        }
    }

    pub(crate) fn with_momentum(mut self, bytes: usize) -> Self {
        self.momentum_bytes = bytes;
        self
    }

    pub(crate) fn with_second_optimizer(mut self, second: SecondOptimizerReport) -> Self {
        self.second_optimizer = Some(second);
        self
    }

    /// The share of parameters whose gradients are preconditioned, in [0, 1].
    pub fn coverage(&self) -> f64 {
        self.covered_parameters as f64 / self.parameters.max(1) as f64
    }
}

struct Reporter<'a, B: AutodiffBackend> {
    survey: &'a Survey<B>,
    preconditioner: &'a MacPreconditioner<B>,
}

impl<B: AutodiffBackend> Reporter<'_, B> {
    fn recorded(&self, weight: ParamId) -> Option<LayerParameters> {
        let mut recorded = self
            .survey
            .recorders
            .iter()
            .filter_map(|found| found.parameters);
        recorded.find(|parameters| parameters.weight == weight)
    }

    fn recorded_biases(&self) -> HashSet<ParamId> {
        let recorded = self
            .survey
            .recorders
            .iter()
            .filter_map(|found| found.parameters);
        recorded.filter_map(|parameters| parameters.bias).collect()
    }

    fn layer(&self, weight: &Parameter<B>) -> LayerReport {
        let kind = self.recorded(weight.id).map(|parameters| parameters.kind);
        let curvature = self.preconditioner.layers().get(&weight.id);
        let coverage = self.coverage(weight);
        let mean_norm_squared = match coverage {
            Coverage::MeanActivation => curvature.and_then(mean_norm_squared),
            _ => None,
        };
        let damping = self.preconditioner.damping();
        LayerReport {
            path: weight.layer_path().to_string(),
            coverage,
            kind: kind.map_or_else(
                || format!("{:?}", weight.shape),
                |kind| kind.name().to_string(),
            ),
            size_input: kind.map(|kind| kind.means_and_size(&weight.shape).1),
            size_output: kind.map(|kind| kind.size_output(&weight.shape)),
            updates: curvature.map_or(0, Curvature::updates),
            rejected: curvature.map_or(0, Curvature::rejected),
            mean_norm_squared,
            gain: mean_norm_squared.map(|norm| match damping.is_infinite() {
                true => 1.0,
                false => damping / (damping + norm),
            }),
        }
    }

    fn coverage(&self, weight: &Parameter<B>) -> Coverage {
        if self.recorded(weight.id).is_none() {
            Coverage::NoRecorder
        } else if self.preconditioner.skips(weight.layer_path()) {
            Coverage::Skipped
        } else if self.preconditioner.dense().contains_key(&weight.id) {
            Coverage::InputCovariance
        } else if self.preconditioner.layers().contains_key(&weight.id) {
            Coverage::MeanActivation
        } else {
            Coverage::NothingRecorded
        }
    }

    fn covered_parameters(&self) -> usize {
        let covered = self.survey.parameters.iter().filter(|parameter| {
            parameter.trained
                && matches!(
                    self.coverage(parameter),
                    Coverage::MeanActivation | Coverage::InputCovariance
                )
        });
        covered
            .map(|weight| {
                let bias = self
                    .recorded(weight.id)
                    .and_then(|parameters| parameters.bias);
                let bias = bias.and_then(|bias| self.survey.parameter(bias));
                let bias = bias.filter(|bias| bias.trained);
                weight.num_elements() + bias.map_or(0, Parameter::num_elements)
            })
            .sum()
    }
}

fn mean_norm_squared<B: Backend>(curvature: &Curvature<B>) -> Option<f64> {
    let mean = curvature.mean()?.clone();
    let [means, width] = mean.dims();
    let squares = mean.narrow(1, 0, width - 1).square().sum();
    Some(squares.into_data().iter::<f64>().sum::<f64>() / means as f64)
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
            "‖x̄‖²",
            "gain",
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
                number(layer.mean_norm_squared),
                number(layer.gain),
            ]);
        }
        for column in [2, 3, 5, 6, 7, 8] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "{} of {} parameters preconditioned ({:.1} %)",
            self.covered_parameters,
            self.parameters,
            100.0 * self.coverage()
        )?;
        if let Some(second) = &self.second_optimizer {
            let share = 100.0 * second.parameters as f64 / self.parameters.max(1) as f64;
            writeln!(f, "{second} ({share:.1} %)")?;
        }
        write!(
            f,
            "state: momentum {} bytes, statistics {} bytes",
            self.momentum_bytes, self.statistics_bytes
        )
    }
}
