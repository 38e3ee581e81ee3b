use super::moving_average::{
    BatchCounts, BatchCountsRecord, Finite, MovingAverage, MovingAverageRecord, Start, are_of,
    load_all, means_of,
};
use super::{Batches, Curvature, CurvatureRecord, CurvatureReport, LayerGradient, MeanActivation};
use crate::MacError;
use crate::layer::Layer;
use crate::precision::bytes;
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The curvature of SMAC (the authors' later variant of MAC, `hf_imagenet/optimizers/smac.py` in their repository): MAC's on the input side,
/// and a diagonal on the output side, of the mean squares `z` of the gradients at a layer's outputs:
///
/// ```text
/// G ← diag(1 / (z + ρ)) G (I − ā āᵀ / (ρ + ‖ā‖²))
/// ```
///
/// `z` is bias-corrected as `ā` is. The gradients are those that flow back: of a mean loss over `N` samples `1 / N` of a sample's, so that
/// `z` is small beside `ρ`. It keeps what MAC keeps and `2 size_output` numbers.
#[derive(Debug, Clone)]
pub(crate) struct Smac<B: Backend> {
    /// That of the input side.
    inputs: Box<dyn Curvature<B>>,
    damping: f64,
    outputs: Option<OutputSquares<B>>,
}

/// The mean squares of the gradients at the outputs of a layer.
#[derive(Debug, Clone)]
struct OutputSquares<B: Backend> {
    counts: BatchCounts<B>,
    /// `[groups, 1, outputs]`.
    average: MovingAverage<B>,
    /// The average in use; none before the first refresh.
    in_use: Option<Tensor<B, 3>>,
}

/// A [`Smac`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SmacRecord {
    pub(super) inputs: Box<CurvatureRecord>,
    pub(super) outputs: Option<OutputSquaresRecord>,
}

/// [`OutputSquares`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OutputSquaresRecord {
    counts: BatchCountsRecord,
    average: MovingAverageRecord,
    in_use: Option<Vec<TensorData>>,
}

impl<B: Backend> Smac<B> {
    /// With this curvature on the input side.
    pub(super) fn new(inputs: Box<dyn Curvature<B>>, damping: f64) -> Self {
        Self {
            inputs,
            damping,
            outputs: None,
        }
    }

    pub(super) fn from_record(
        inputs: Box<dyn Curvature<B>>,
        outputs: Option<OutputSquaresRecord>,
        damping: f64,
        device: &B::Device,
    ) -> Self {
        let outputs = outputs.map(|record| OutputSquares {
            counts: BatchCounts::from_record(record.counts, device),
            average: MovingAverage::from_record(record.average, Start::Zero, device),
            in_use: record
                .in_use
                .and_then(|in_use| load_all(in_use, device).pop()),
        });
        Self {
            inputs,
            damping,
            outputs,
        }
    }
}

impl SmacRecord {
    /// Whether its output side has this shape.
    pub(super) fn fits(&self, outputs: [usize; 3]) -> bool {
        self.outputs.as_ref().is_none_or(|record| {
            let in_use = record.in_use.as_ref();
            record.counts.fits()
                && record.average.fits(&[outputs])
                && in_use.is_none_or(|in_use| are_of(in_use, &[outputs]))
        })
    }
}

impl<B: Backend> OutputSquares<B> {
    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) {
        let Some(sums) = statistics.get(Statistic::OutputSquares) else {
            return;
        };
        let means = means_of(sums);
        let finite = Finite::of(&[&means]);
        self.average.observe(means, &finite, decay);
        self.counts.count(&finite, sums.parts[0].count.clone());
    }

    fn bytes(&self) -> usize {
        let in_use = self.in_use.as_ref().map_or(0, bytes);
        self.counts.bytes() + self.average.bytes() + in_use
    }
}

impl<B: Backend> Curvature<B> for Smac<B> {
    fn layer(&self) -> Layer {
        self.inputs.layer()
    }

    fn is_measured(&self) -> bool {
        self.inputs.is_measured()
    }

    fn demand(&self) -> Demand {
        self.inputs
            .demand()
            .and(Demand::of(&[Statistic::OutputSquares]))
    }

    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) -> Option<Batches> {
        if let Some(sums) = statistics.get(Statistic::OutputSquares) {
            let outputs = self.outputs.get_or_insert_with(|| {
                let means = means_of(sums);
                OutputSquares {
                    counts: BatchCounts::new(&means[0]),
                    average: MovingAverage::new(Start::Zero, &means),
                    in_use: None,
                }
            });
            outputs.observe(statistics, decay);
        }
        self.inputs.observe(statistics, decay)
    }

    fn refresh(&mut self, step: u64) {
        self.inputs.refresh(step);
        if let Some(outputs) = &mut self.outputs {
            outputs.in_use = outputs.average.corrected().pop();
        }
    }

    fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        self.inputs.set_damping(damping)?;
        self.damping = damping;
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B> {
        let gradient = self.inputs.precondition(gradient, guard);
        let squares = self
            .outputs
            .as_ref()
            .and_then(|outputs| outputs.in_use.clone());
        let Some(squares) = squares else {
            return gradient;
        };
        let count = squares.shape().num_elements();
        let squares = squares.to_device(&gradient.weight.device());
        let damped = squares.reshape([count]).add_scalar(self.damping);
        let scale = damped.ones_like() / damped;
        let bias = gradient.bias.clone().map(|bias| bias * scale.clone());
        let (rows, columns) = (
            scale.clone().reshape([count, 1, 1, 1]),
            scale.unsqueeze_dim(0),
        );
        let scaled = gradient.with_weight(|weight| weight * columns, |kernel| kernel * rows);
        LayerGradient { bias, ..scaled }
    }

    fn to_record(&self) -> CurvatureRecord {
        let outputs = self.outputs.as_ref().map(|outputs| OutputSquaresRecord {
            counts: outputs.counts.to_record(),
            average: outputs.average.to_record(),
            in_use: outputs.in_use.as_ref().map(|in_use| vec![in_use.to_data()]),
        });
        CurvatureRecord::Smac(SmacRecord {
            inputs: Box::new(self.inputs.to_record()),
            outputs,
        })
    }

    fn report(&self) -> CurvatureReport {
        let inputs = self.inputs.report();
        CurvatureReport {
            coverage: match inputs.coverage {
                Coverage::MeanActivation => Coverage::MeanActivationAndOutputSquares,
                other => other,
            },
            bytes: inputs.bytes + self.outputs.as_ref().map_or(0, OutputSquares::bytes),
            ..inputs
        }
    }

    fn mean_activation(&self) -> Option<&MeanActivation<B>> {
        self.inputs.mean_activation()
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}
