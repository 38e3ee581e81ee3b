use super::matrices::Matrices;
use super::moving_average::{
    BatchCounts, BatchCountsRecord, Finite, Means, MovingAverage, MovingAverageRecord, Start,
    are_of, load_all, mean_inputs, means_of,
};
use super::{
    Batches, Curvature, CurvatureRecord, CurvatureReport, CurvatureSettings, LayerGradient,
    WeightGradient,
};
use crate::MacError;
use crate::layer::{Layer, LayerRecord};
use crate::precision::{bytes, full_precision_matmul};
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The curvature of Eva (L. Zhang, S. Shi, B. Li 2023, "Eva: Practical Second-order Optimization with Kronecker-vectorized Approximation"), a
/// vector on each side of a layer, the mean of its inputs `ā = [x̄ ; 1]` and that of the gradients at its outputs `ḡ`:
///
/// ```text
/// G ← (G − ḡᵀ G ā / (‖ā‖² ‖ḡ‖² + ρ) · ḡ āᵀ) / ρ
/// ```
///
/// which is `(ḡ ḡᵀ ⊗ ā āᵀ + ρ I)⁻¹`. It keeps the moving averages of both, and those in use: `2 (size_input + 1 + size_output)` numbers. The
/// gradients are those that flow back, of a mean loss over `N` samples `1 / N` of a sample's. The averages start from the first batch. The
/// projections to queries, keys and values have a `ḡ` each; the values' `ā` is MAC's, through attention.
#[derive(Debug, Clone)]
pub(crate) struct Eva<B: Backend> {
    layer: Layer,
    settings: CurvatureSettings,
    counts: BatchCounts<B>,
    /// Of `ā`, `[means, 1, size (+ 1)]`.
    inputs: MovingAverage<B>,
    /// Of `ḡ`, `[groups, 1, outputs]` of each block.
    outputs: MovingAverage<B>,
    /// The averages in use, first that of the inputs; none before the first refresh.
    in_use: Option<Vec<Tensor<B, 3>>>,
    last_refresh: Option<u64>,
}

/// An [`Eva`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EvaRecord {
    pub(super) layer: LayerRecord,
    pub(super) counts: BatchCountsRecord,
    inputs: MovingAverageRecord,
    outputs: MovingAverageRecord,
    in_use: Option<Vec<TensorData>>,
    last_refresh: Option<u64>,
}

impl<B: Backend> Eva<B> {
    /// A curvature that has seen nothing, shaped like the first statistics; none if they are not what it is made of.
    pub(super) fn new(
        layer: Layer,
        settings: CurvatureSettings,
        statistics: &LayerStatistics<B>,
    ) -> Option<Self> {
        let [inputs, outputs] = means(layer, settings, statistics)?;
        Some(Self {
            layer,
            settings,
            counts: BatchCounts::new(&inputs[0]),
            inputs: MovingAverage::new(Start::FirstBatch, &inputs),
            outputs: MovingAverage::new(Start::FirstBatch, &outputs),
            in_use: None,
            last_refresh: None,
        })
    }

    pub(super) fn from_record(
        record: EvaRecord,
        layer: Layer,
        settings: CurvatureSettings,
        device: &B::Device,
    ) -> Self {
        Self {
            layer,
            settings,
            counts: BatchCounts::from_record(record.counts, device),
            inputs: MovingAverage::from_record(record.inputs, Start::FirstBatch, device),
            outputs: MovingAverage::from_record(record.outputs, Start::FirstBatch, device),
            in_use: record.in_use.map(|vectors| load_all(vectors, device)),
            last_refresh: record.last_refresh,
        }
    }

    /// The preconditioned weight and bias.
    fn apply<const D: usize>(
        &self,
        weight: Tensor<B, D>,
        bias: Option<Tensor<B, 1>>,
    ) -> (Tensor<B, D>, Option<Tensor<B, 1>>) {
        let Some([inputs, outputs @ ..]) = self.in_use.as_deref() else {
            return (weight, bias);
        };
        let kind = self.layer.kind.of_gradient();
        let shape = weight.dims();
        let inputs = inputs.clone().to_device(&weight.device());
        let (_, size) = kind.means_and_size(&shape);
        let blocks = kind.output_blocks(kind.size_output(&shape));
        let parts = Matrices::of(kind, weight).into_iter().zip(blocks);
        let updated = parts.map(|(part, block)| {
            let output = outputs[block.index].clone().to_device(&inputs.device());
            let bias = bias.clone().map(|bias| {
                let bias = bias.narrow(0, block.start, block.outputs);
                bias.reshape(output.dims())
            });
            rank_one(part, bias, &inputs, output, size, self.settings.damping)
        });
        let (parts, biases): (Vec<_>, Vec<_>) = updated.unzip();
        let biases: Option<Vec<_>> = biases.into_iter().collect();
        let bias = biases.map(|biases| {
            let flat = biases.into_iter().map(|bias| {
                let count = bias.shape().num_elements();
                bias.reshape([count])
            });
            Tensor::cat(flat.collect(), 0)
        });
        (Matrices::join(parts, shape), bias)
    }
}

/// `(G − q / (‖ā‖² ‖ḡ‖² + ρ) · ḡ āᵀ) / ρ` with `q = ḡᵀ G ā`, of some matrices and their bias `[groups, 1, outputs]`.
fn rank_one<B: Backend>(
    matrices: Matrices<B>,
    bias: Option<Tensor<B, 3>>,
    inputs: &Tensor<B, 3>,
    output: Tensor<B, 3>,
    size: usize,
    damping: f64,
) -> (Matrices<B>, Option<Tensor<B, 3>>) {
    let augmented = matrices.own(inputs);
    let mean = augmented.clone().narrow(2, 0, size);
    // As MAC, without the 1 of a bias that is not trained.
    let one = bias.as_ref().map(|_| augmented.clone().narrow(2, size, 1));
    let product = match matrices.input_axis {
        1 => full_precision_matmul(mean.clone(), matrices.values.clone()),
        _ => {
            let column = mean.clone().swap_dims(1, 2);
            full_precision_matmul(matrices.values.clone(), column).swap_dims(1, 2)
        }
    };
    let product = match (&bias, &one) {
        (Some(bias), Some(one)) => product + bias.clone() * one.clone(),
        _ => product,
    };
    let along = (product * output.clone()).sum_dim(2);
    let norm = |vector: &Tensor<B, 3>| vector.clone().square().sum_dim(2);
    let norms = match &one {
        Some(one) => norm(&mean) + one.clone().square(),
        None => norm(&mean),
    } * norm(&output);
    let step = output * (along / norms.add_scalar(damping));
    let bias = bias
        .zip(one)
        .map(|(bias, one)| (bias - step.clone() * one).div_scalar(damping));
    let input_axis = matrices.input_axis;
    let matrices = matrices.map(|values| {
        let update = match input_axis {
            1 => mean.swap_dims(1, 2) * step,
            _ => step.swap_dims(1, 2) * mean,
        };
        (values - update).div_scalar(damping)
    });
    (matrices, bias)
}

/// The means of a batch, of inputs and of gradients at the outputs.
fn means<B: Backend>(
    layer: Layer,
    settings: CurvatureSettings,
    statistics: &LayerStatistics<B>,
) -> Option<[Means<B>; 2]> {
    let inputs = statistics.activations.as_ref()?;
    let outputs = means_of(statistics.get(Statistic::OutputGradients)?);
    let inputs = mean_inputs(inputs, settings.covers_bias(layer));
    Some([vec![inputs], outputs])
}

impl EvaRecord {
    /// Whether it is of inputs and outputs with these shapes.
    pub(super) fn fits(&self, inputs: [usize; 3], outputs: &[[usize; 3]]) -> bool {
        let all: Vec<_> = std::iter::once(inputs)
            .chain(outputs.iter().copied())
            .collect();
        let in_use = self.in_use.as_ref();
        self.counts.fits()
            && self.inputs.fits(&[inputs])
            && self.outputs.fits(outputs)
            && in_use.is_none_or(|vectors| are_of(vectors, &all))
    }
}

impl<B: Backend> Curvature<B> for Eva<B> {
    fn layer(&self) -> Layer {
        self.layer
    }

    fn demand(&self) -> Demand {
        Demand::of(&DEMAND)
    }

    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) -> Option<Batches> {
        let statistics = &statistics.clone().on_device(&self.inputs.device());
        let [inputs, outputs] = means(self.layer, self.settings, statistics)?;
        let rows = statistics.get(Statistic::OutputGradients)?.parts[0]
            .count
            .clone();
        let finite = Finite::of(&[&inputs, &outputs]);
        self.inputs.observe(inputs, &finite, decay);
        self.outputs.observe(outputs, &finite, decay);
        self.counts.count(&finite, rows)
    }

    fn refresh(&mut self, step: u64) {
        let inputs = self.inputs.corrected();
        self.in_use = Some(inputs.into_iter().chain(self.outputs.corrected()).collect());
        self.last_refresh = Some(step);
    }

    fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        self.settings.damping = damping;
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, _guard: bool) -> LayerGradient<B> {
        let bias = gradient
            .bias
            .clone()
            .filter(|_| self.settings.covers_bias(self.layer));
        let (weight, bias) = match gradient.weight {
            WeightGradient::Matrix(weight) => {
                let (weight, bias) = self.apply(weight, bias);
                (WeightGradient::Matrix(weight), bias)
            }
            WeightGradient::Kernel(weight) => {
                let (weight, bias) = self.apply(weight, bias);
                (WeightGradient::Kernel(weight), bias)
            }
        };
        LayerGradient {
            weight,
            bias,
            ..gradient
        }
    }

    fn to_record(&self) -> CurvatureRecord {
        let in_use = self.in_use.as_ref();
        CurvatureRecord::Eva(EvaRecord {
            layer: self.layer.to_record(),
            counts: self.counts.to_record(),
            inputs: self.inputs.to_record(),
            outputs: self.outputs.to_record(),
            in_use: in_use.map(|vectors| vectors.iter().map(Tensor::to_data).collect()),
            last_refresh: self.last_refresh,
        })
    }

    fn report(&self) -> CurvatureReport {
        let in_use = self.in_use.iter().flatten().map(bytes).sum::<usize>();
        CurvatureReport {
            covers_bias: self.settings.covers_bias(self.layer),
            batches: self.counts.batches(),
            last_refresh: self.last_refresh,
            bytes: self.counts.bytes() + self.inputs.bytes() + self.outputs.bytes() + in_use,
            ..CurvatureReport::of(Coverage::MeansOfBothSides)
        }
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}

/// The statistics that an Eva is made of.
pub(super) const DEMAND: [Statistic; 2] = [Statistic::Activations, Statistic::OutputGradients];
