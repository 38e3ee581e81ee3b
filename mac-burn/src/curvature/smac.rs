use super::averages::{is_of, load};
use super::moving_average::{
    BatchCounts, BatchCountsRecord, Finite, MovingAverage, MovingAverageRecord, Start, means_of,
};
use super::{Batches, Curvature, CurvatureRecord, CurvatureReport, LayerGradient, MeanActivation};
use crate::MacError;
use crate::layer::Layer;
use crate::precision::bytes;
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic, Sums};
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
    /// The curvature of the input side.
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
    in_use: Option<TensorData>,
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
            in_use: record.in_use.map(|in_use| load(in_use, device)),
        });
        Self {
            inputs,
            damping,
            outputs,
        }
    }
}

impl SmacRecord {
    pub(super) fn batches(&self) -> Option<Batches> {
        let outputs = self.outputs.as_ref();
        more_rejected(
            self.inputs.batches(),
            outputs.map(|outputs| outputs.counts.batches()),
        )
    }

    /// Whether its output side has this shape.
    pub(super) fn fits(&self, outputs: [usize; 3]) -> bool {
        self.outputs.as_ref().is_none_or(|record| {
            let in_use = record.in_use.as_ref();
            record.counts.fits()
                && record.average.fits(&[outputs])
                && in_use.is_none_or(|in_use| is_of(in_use, &outputs))
        })
    }
}

impl<B: Backend> OutputSquares<B> {
    /// One that has seen nothing, shaped like the means of the first batch.
    fn new(means: &[Tensor<B, 3>]) -> Self {
        Self {
            counts: BatchCounts::new(&means[0]),
            average: MovingAverage::new(Start::Zero, means),
            in_use: None,
        }
    }

    fn observe(&mut self, sums: &Sums<B>, decay: f64) -> Option<Batches> {
        let device = self.average.device();
        let sums = sums.clone().map(|tensor| tensor.to_device(&device));
        let means = means_of(&sums);
        let finite = Finite::of(&[&means]);
        self.average.observe(means, &finite, decay);
        self.counts.count(&finite, sums.parts[0].count.clone())
    }

    fn refresh(&mut self) {
        self.in_use = self.average.corrected().pop();
    }

    fn bytes(&self) -> usize {
        let in_use = self.in_use.as_ref().map_or(0, bytes);
        self.counts.bytes() + self.average.bytes() + in_use
    }
}

/// The batches of the side on which more were left out.
fn more_rejected(left: Option<Batches>, right: Option<Batches>) -> Option<Batches> {
    left.into_iter()
        .chain(right)
        .max_by_key(|batches| batches.rejected)
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
        let of_inputs = self.inputs.observe(statistics, decay);
        let Some(sums) = statistics.get(Statistic::OutputSquares) else {
            return of_inputs;
        };
        let of_outputs = match &mut self.outputs {
            Some(outputs) => outputs.observe(sums, decay),
            None => {
                // Of a curvature that was MAC's, as in a record: it does not wait for the next refresh.
                let outputs = self.outputs.insert(OutputSquares::new(&means_of(sums)));
                let batches = outputs.observe(sums, decay);
                outputs.refresh();
                batches
            }
        };
        more_rejected(of_inputs, of_outputs)
    }

    fn refresh(&mut self, step: u64) {
        self.inputs.refresh(step);
        if let Some(outputs) = &mut self.outputs {
            outputs.refresh();
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
            in_use: outputs.in_use.as_ref().map(Tensor::to_data),
        });
        CurvatureRecord::Smac(SmacRecord {
            inputs: Box::new(self.inputs.to_record()),
            outputs,
        })
    }

    fn report(&self) -> CurvatureReport {
        let inputs = self.inputs.report();
        let Some(outputs) = &self.outputs else {
            return inputs;
        };
        let batches = more_rejected(Some(inputs.batches), Some(outputs.counts.batches()));
        CurvatureReport {
            coverage: match inputs.coverage {
                Coverage::MeanActivation => Coverage::MeanActivationAndOutputSquares,
                other => other,
            },
            batches: batches.unwrap_or_default(),
            bytes: inputs.bytes + outputs.bytes(),
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
