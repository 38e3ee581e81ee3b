//! Curvatures of single layers, and what they are applied to.

mod averages;
mod eva;
mod factor;
mod foof;
mod input_covariance;
mod inverse_root;
mod kfac;
mod matrices;
mod mean_activation;
mod moving_average;
mod rank_one;
mod smac;
mod whitened_mean;

pub use input_covariance::{FirstLayer, InputCovariance};
pub(crate) use input_covariance::{InputCovarianceCurvature, InputCovarianceRecord};
pub(crate) use inverse_root::InverseRoot;
pub(crate) use kfac::KfacSettings;
pub use kfac::{GradientScale, KfacDamping};
pub(crate) use matrices::Matrices;
pub(crate) use mean_activation::{MeanActivation, MeanActivationRecord};
#[cfg(test)]
pub(crate) use whitened_mean::WhitenedMean;

use self::eva::{Eva, EvaRecord};
use self::factor::FailedInversions;
use self::foof::{Foof, FoofRecord};
use self::kfac::{Kfac, KfacRecord};
use self::smac::{Smac, SmacRecord};
use crate::layer::{Layer, LayerKind, LayerRecord, OutputBlock};
use crate::optimizer::gradients::Preparation;
use crate::precision::{as_dtype, at_least_f32};
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic};
use crate::{InputCurvature, MacError};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, DType, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Curvature of one layer: what is known of it, and the preconditioner made of that.
///
/// Nothing here waits for the device but [`to_record`](Self::to_record), [`report`](Self::report) and what
/// inverts a matrix on the host, as [`refresh`](Self::refresh) and [`set_damping`](Self::set_damping) of the dense ones do.
pub(crate) trait Curvature<B: Backend>: Debug + Send + Sync {
    /// The layer.
    fn layer(&self) -> Layer;

    /// The statistics that it is made of; none if it was measured before training.
    fn demand(&self) -> Demand;

    /// Whether its input side was measured before training.
    fn is_measured(&self) -> bool {
        false
    }

    /// Takes the statistics of a step into the moving averages, whose decay is `decay`, if they are those that it is made of.
    ///
    /// Returns the batches so far if it left some of this one out, where that is known without waiting for a device.
    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) -> Option<Batches>;

    /// Takes the moving averages into use, in a step that is counted from 1.
    fn refresh(&mut self, step: u64);

    /// Changes the damping `ρ`, or nothing if it cannot be had.
    fn set_damping(&mut self, damping: f64) -> Result<(), MacError>;

    /// Preconditions the layer's gradient. With `guard`, fills in [`LayerGradient::broken`] if that costs nothing.
    fn precondition(&mut self, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B>;

    /// The root `S` of its inverse on the input side of a weight with so many outputs, `SᵀS = A⁻¹`; none if it has none, as while nothing was seen.
    fn inverse_root(&mut self, _size_output: usize) -> Option<InverseRoot<B>> {
        None
    }

    /// The part that the next step depends on.
    fn to_record(&self) -> CurvatureRecord;

    fn report(&self) -> CurvatureReport;

    /// The statistics that a user may read.
    fn mean_activation(&self) -> Option<&MeanActivation<B>> {
        None
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>>;
}

impl<B: Backend> Clone for Box<dyn Curvature<B>> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}

/// A kind of curvature, with the settings that only it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum CurvatureKind {
    Mac(InputCurvature),
    Smac {
        /// Whether a first layer whose inputs were measured has a diagonal on the output side too.
        scales_first_layer: bool,
    },
    Foof {
        /// Whether the moving average starts from the identity.
        identity_start: bool,
    },
    Eva,
    Kfac(KfacSettings),
}

impl CurvatureKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mac(_) => "MAC",
            Self::Smac { .. } => "SMAC",
            Self::Foof { .. } => "FOOF",
            Self::Eva => "Eva",
            Self::Kfac(_) => "K-FAC",
        }
    }

    /// The statistics that a layer's curvature is made of.
    pub(crate) fn demand(self) -> Demand {
        match self {
            Self::Mac(_) => Demand::of(&[Statistic::Activations]),
            Self::Smac { .. } => Demand::of(&[Statistic::Activations, Statistic::OutputSquares]),
            Self::Foof { .. } => Demand::of(&[foof::INPUTS]),
            Self::Eva => Demand::of(&eva::DEMAND),
            Self::Kfac(settings) => settings.demand(),
        }
    }

    /// The statistics of the input side of MAC's curvature.
    fn inputs(self) -> InputCurvature {
        match self {
            Self::Mac(inputs) => inputs,
            _ => InputCurvature::Mean,
        }
    }
}

/// The settings of a layer's curvature: what it is made of, and what it preconditions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CurvatureSettings {
    pub(crate) kind: CurvatureKind,
    pub(crate) damping: f64,
    /// Whether a bias is preconditioned with its weight, to which it adds an input of 1.
    pub(crate) biases: bool,
}

impl CurvatureSettings {
    /// A curvature that has seen nothing, shaped like the first statistics of a layer; none if they are not what it is made of.
    pub(crate) fn curvature<B: Backend>(
        self,
        layer: Layer,
        statistics: &LayerStatistics<B>,
    ) -> Option<Box<dyn Curvature<B>>> {
        Some(match self.kind {
            CurvatureKind::Mac(_) => self.mean_activation(layer, statistics)?,
            // As the authors have it, the projections of attention that are one have no diagonal.
            CurvatureKind::Smac { .. } if layer.kind.is_fused() => {
                self.mean_activation(layer, statistics)?
            }
            CurvatureKind::Smac { .. } => {
                statistics.get(Statistic::OutputSquares)?;
                let inputs = self.mean_activation(layer, statistics)?;
                Box::new(Smac::new(inputs, self.damping))
            }
            CurvatureKind::Foof { identity_start } => {
                Box::new(Foof::new(layer, self, identity_start, statistics)?)
            }
            CurvatureKind::Eva => Box::new(Eva::new(layer, self, statistics)?),
            CurvatureKind::Kfac(kfac) => Box::new(Kfac::new(layer, self, kfac, statistics)?),
        })
    }

    fn mean_activation<B: Backend>(
        self,
        layer: Layer,
        statistics: &LayerStatistics<B>,
    ) -> Option<Box<dyn Curvature<B>>> {
        let sums = statistics.activations.as_ref()?;
        Some(Box::new(MeanActivation::new(layer, self, sums)))
    }

    /// The curvature of a first layer whose inputs were measured.
    pub(crate) fn of_measured<B: Backend>(
        self,
        measured: InputCovarianceCurvature<B>,
    ) -> Box<dyn Curvature<B>> {
        self.with_outputs(Box::new(measured))
    }

    /// A curvature of MAC's with the output side of SMAC, where that has one.
    fn with_outputs<B: Backend>(self, inputs: Box<dyn Curvature<B>>) -> Box<dyn Curvature<B>> {
        match self.kind {
            CurvatureKind::Smac { scales_first_layer }
                if !inputs.layer().kind.is_fused()
                    && (scales_first_layer || !inputs.is_measured()) =>
            {
                Box::new(Smac::new(inputs, self.damping))
            }
            _ => inputs,
        }
    }

    /// Whether a layer has a bias that is preconditioned with its weight.
    fn covers_bias(self, layer: Layer) -> bool {
        self.biases && layer.bias.is_some()
    }
}

/// The recorded batches that were offered to a layer's moving average.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Batches {
    pub(crate) offered: u64,
    /// Batches that held a NaN or infinity and were left out.
    pub(crate) rejected: u64,
}

impl Batches {
    /// Whether more than half of at least four were left out.
    pub(crate) fn are_mostly_rejected(self) -> bool {
        self.offered >= 4 && 2 * self.rejected > self.offered
    }
}

/// A curvature as [`Report`](crate::Report) tells of it.
pub(crate) struct CurvatureReport {
    pub(crate) coverage: Coverage,
    /// Whether it preconditions a bias with the weight.
    pub(crate) covers_bias: bool,
    pub(crate) batches: Batches,
    /// The step of the last refresh in this process.
    pub(crate) last_refresh: Option<u64>,
    /// `‖x̄‖²` of the mean in use, the mean over a layer's means.
    pub(crate) mean_norm_squared: Option<f64>,
    /// The share that is kept of what acts on the mean input.
    pub(crate) gain: Option<f64>,
    /// `‖ā‖² / E‖a‖²` of the moving averages.
    pub(crate) mean_share: Option<f64>,
    pub(crate) inversions: FailedInversions,
    /// Bytes of the tensors held between steps.
    pub(crate) bytes: usize,
}

impl CurvatureReport {
    /// Of a layer of which nothing else is known.
    fn of(coverage: Coverage) -> Self {
        Self {
            coverage,
            covers_bias: false,
            batches: Batches::default(),
            last_refresh: None,
            mean_norm_squared: None,
            gain: None,
            mean_share: None,
            inversions: FailedInversions::default(),
            bytes: 0,
        }
    }
}

/// Any curvature in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum CurvatureRecord {
    MeanActivation(MeanActivationRecord),
    InputCovariance(InputCovarianceRecord),
    Smac(SmacRecord),
    Foof(FoofRecord),
    Eva(EvaRecord),
    Kfac(KfacRecord),
}

impl CurvatureRecord {
    pub(crate) fn layer(&self) -> &LayerRecord {
        match self {
            Self::MeanActivation(record) => &record.layer,
            Self::InputCovariance(record) => &record.layer,
            Self::Smac(record) => record.inputs.layer(),
            Self::Foof(record) => &record.layer,
            Self::Eva(record) => &record.layer,
            Self::Kfac(record) => &record.layer,
        }
    }

    /// Whether it was measured before training, on its input side.
    pub(crate) fn is_measured(&self) -> bool {
        match self {
            Self::InputCovariance(_) => true,
            Self::Smac(record) => record.inputs.is_measured(),
            _ => false,
        }
    }

    /// The batches that were offered to the layer's moving average; none if there is no such average.
    pub(crate) fn batches(&self) -> Option<Batches> {
        match self {
            Self::MeanActivation(record) => Some(record.batches()),
            Self::InputCovariance(_) => None,
            Self::Smac(record) => record.batches(),
            Self::Foof(record) => Some(record.counts.batches()),
            Self::Eva(record) => Some(record.counts.batches()),
            Self::Kfac(record) => Some(record.counts.batches()),
        }
    }

    /// The name of the optimizer whose curvature it is, for one with curvatures of this kind; none if that may have it.
    pub(crate) fn optimizer(&self, kind: CurvatureKind) -> Option<&'static str> {
        match (self, kind) {
            (
                Self::MeanActivation(_) | Self::InputCovariance(_),
                CurvatureKind::Mac(_) | CurvatureKind::Smac { .. },
            ) => None,
            (Self::MeanActivation(_) | Self::InputCovariance(_), _) => Some("MAC"),
            (Self::Smac(_), _) => Some("SMAC"),
            (Self::Foof(_), _) => Some("FOOF"),
            (Self::Eva(_), _) => Some("Eva"),
            (Self::Kfac(_), _) => Some("K-FAC"),
        }
    }

    /// The curvature of this record for a layer whose weight has this shape; none if it is of another size.
    pub(crate) fn restore<B: Backend>(
        self,
        layer: Layer,
        weight: &[usize],
        settings: CurvatureSettings,
        device: &B::Device,
    ) -> Result<Option<Box<dyn Curvature<B>>>, MacError> {
        let shapes = Shapes::new(layer, weight, settings);
        let (means, size) = layer.kind.means_and_size(weight);
        let fits = match &self {
            Self::MeanActivation(record) => record.fits(means, size),
            Self::InputCovariance(record) => {
                record.fits(means, size + usize::from(layer.bias.is_some()))
            }
            Self::Smac(record) => record.fits(shapes.vectors[0]),
            Self::Foof(record) => record.fits(&shapes.parts),
            Self::Eva(record) => record.fits(shapes.means, &shapes.vectors),
            Self::Kfac(record) => record.fits(&shapes.parts, &shapes.blocks, &shapes.outputs),
        };
        if !fits {
            return Ok(None);
        }
        Ok(Some(match (self, settings.kind) {
            (Self::MeanActivation(record), _) => {
                let restored = MeanActivation::from_record(record, layer, settings, device);
                settings.with_outputs(Box::new(restored))
            }
            (Self::InputCovariance(record), _) => settings.of_measured(
                InputCovarianceCurvature::from_record(record, layer, settings.damping)?,
            ),
            (Self::Smac(SmacRecord { inputs, outputs }), _) => {
                let of_inputs = CurvatureSettings {
                    kind: CurvatureKind::Mac(InputCurvature::Mean),
                    ..settings
                };
                let Some(inputs) = inputs.restore(layer, weight, of_inputs, device)? else {
                    return Ok(None);
                };
                match settings.kind {
                    // The diagonal of a first layer that is to have none.
                    CurvatureKind::Smac {
                        scales_first_layer: false,
                    } if inputs.is_measured() => inputs,
                    _ => Box::new(Smac::from_record(inputs, outputs, settings.damping, device)),
                }
            }
            (Self::Foof(record), CurvatureKind::Foof { identity_start }) => Box::new(
                Foof::from_record(record, layer, settings, identity_start, device),
            ),
            (Self::Eva(record), _) => Box::new(Eva::from_record(record, layer, settings, device)),
            (Self::Kfac(record), CurvatureKind::Kfac(kfac)) => {
                Box::new(Kfac::from_record(record, layer, settings, kfac, device))
            }
            (Self::Foof(_) | Self::Kfac(_), _) => return Ok(None),
        }))
    }
}

/// The shapes of the statistics of a layer with a weight.
struct Shapes {
    /// Of the second moments of its inputs.
    parts: Vec<[usize; 3]>,
    /// The same for each block of outputs.
    blocks: Vec<[usize; 3]>,
    /// Of the second moments of the gradients at the outputs of each block.
    outputs: Vec<[usize; 3]>,
    /// Of the means of its inputs.
    means: [usize; 3],
    /// Of the means of the gradients at the outputs of each block.
    vectors: Vec<[usize; 3]>,
}

impl Shapes {
    fn new(layer: Layer, weight: &[usize], settings: CurvatureSettings) -> Self {
        let (means, size) = layer.kind.means_and_size(weight);
        let width = size + usize::from(settings.covers_bias(layer));
        let (groups, parts) = match layer.kind {
            LayerKind::Conv2d { groups } => (groups, 1),
            _ => (1, means),
        };
        let blocks = layer.kind.output_blocks(layer.kind.size_output(weight));
        let outputs = blocks.iter().map(|block| block.outputs / groups);
        Self {
            parts: vec![[groups, width, width]; parts],
            blocks: vec![[groups, width, width]; blocks.len()],
            outputs: outputs.clone().map(|size| [groups, size, size]).collect(),
            means: [means, 1, width],
            vectors: outputs.map(|size| [groups, 1, size]).collect(),
        }
    }
}

/// The gradients of a layer's parameters, in `f32` or wider.
#[derive(Clone)]
pub(crate) struct LayerGradient<B: Backend> {
    pub(crate) weight: WeightGradient<B>,
    /// None for a layer without a bias, or with one that is not trained.
    pub(crate) bias: Option<Tensor<B, 1>>,
    /// Whether any of it is NaN or infinite, `[1]`, on the device; none while nobody has looked.
    pub(crate) broken: Option<Tensor<B, 1, Bool>>,
    /// The types of the gradients that this was made of.
    dtypes: (DType, DType),
}

/// The gradient of a weight, in its own shape: on a backend that fuses, a gradient that is reshaped is no longer part of
/// the kernel that updates the weight.
#[derive(Clone)]
pub(crate) enum WeightGradient<B: Backend> {
    /// `[size_input, size_output]`.
    Matrix(Tensor<B, 2>),
    /// `[channels_out, channels_in / groups, kernel_height, kernel_width]`.
    Kernel(Tensor<B, 4>),
}

impl<B: Backend> LayerGradient<B> {
    /// Of a weight by itself, in `f32` or wider.
    fn of_weight(weight: WeightGradient<B>) -> Self {
        let dtype = weight.dtype();
        Self {
            dtypes: (dtype, dtype),
            weight,
            bias: None,
            broken: None,
        }
    }

    /// Takes the gradients of a layer; none if its weight has none.
    pub(crate) fn take(layer: Layer, grads: &mut GradientsParams) -> Option<Self> {
        let weight = match layer.kind {
            LayerKind::Conv2d { .. } => WeightGradient::Kernel(grads.remove(layer.weight)?),
            _ => WeightGradient::Matrix(grads.remove(layer.weight)?),
        };
        let device = weight.device();
        let bias: Option<Tensor<B, 1>> = layer.bias.and_then(|bias| grads.remove(bias));
        let bias = bias.map(|bias| bias.to_device(&device));
        let dtype = weight.dtype();
        Some(Self {
            dtypes: (dtype, bias.as_ref().map_or(dtype, Tensor::dtype)),
            weight: match weight {
                WeightGradient::Matrix(weight) => WeightGradient::Matrix(at_least_f32(weight)),
                WeightGradient::Kernel(weight) => WeightGradient::Kernel(at_least_f32(weight)),
            },
            bias: bias.map(at_least_f32),
            broken: None,
        })
    }

    /// Puts the gradients back, in the types that they had.
    pub(crate) fn put(self, layer: Layer, grads: &mut GradientsParams) {
        let (weight, bias) = self.dtypes;
        match self.weight {
            WeightGradient::Matrix(gradient) => {
                grads.register(layer.weight, as_dtype(gradient, weight));
            }
            WeightGradient::Kernel(gradient) => {
                grads.register(layer.weight, as_dtype(gradient, weight));
            }
        }
        if let Some((id, gradient)) = layer.bias.zip(self.bias) {
            grads.register(id, as_dtype(gradient, bias));
        }
    }

    /// Clips the gradients.
    pub(crate) fn map<A: AutodiffBackend<InnerBackend = B>>(
        &mut self,
        preparation: &Preparation<A>,
    ) {
        match &mut self.weight {
            WeightGradient::Matrix(weight) => replace(weight, |weight| preparation.apply(weight)),
            WeightGradient::Kernel(weight) => replace(weight, |weight| preparation.apply(weight)),
        }
        if let Some(bias) = &mut self.bias {
            replace(bias, |bias| preparation.apply(bias));
        }
    }

    /// The same with another gradient of the weight.
    fn with_weight(
        self,
        matrix: impl FnOnce(Tensor<B, 2>) -> Tensor<B, 2>,
        kernel: impl FnOnce(Tensor<B, 4>) -> Tensor<B, 4>,
    ) -> Self {
        Self {
            weight: match self.weight {
                WeightGradient::Matrix(weight) => WeightGradient::Matrix(matrix(weight)),
                WeightGradient::Kernel(weight) => WeightGradient::Kernel(kernel(weight)),
            },
            ..self
        }
    }

    /// The sum of the products with the elements of another gradient of the layer, `[1]`.
    pub(crate) fn dot(&self, other: &Self) -> Tensor<B, 1> {
        let weight = match (&self.weight, &other.weight) {
            (WeightGradient::Matrix(left), WeightGradient::Matrix(right)) => product(left, right),
            (WeightGradient::Kernel(left), WeightGradient::Kernel(right)) => product(left, right),
            _ => unreachable!("both are of one layer"),
        };
        match (&self.bias, &other.bias) {
            (Some(left), Some(right)) => weight + product(left, right),
            _ => weight,
        }
    }

    /// Multiplied by a number on a device, `[1]`.
    pub(crate) fn scaled(self, factor: &Tensor<B, 1>) -> Self {
        let device = self.weight.device();
        let factor = as_dtype(factor.clone().to_device(&device), self.weight.dtype());
        let (for_matrix, for_kernel) = (factor.clone(), factor.clone());
        let bias = self.bias.clone().map(|bias| bias * factor);
        let scaled = self.with_weight(
            |weight| weight * for_matrix.reshape([1, 1]),
            |kernel| kernel * for_kernel.reshape([1, 1, 1, 1]),
        );
        Self { bias, ..scaled }
    }

    pub(crate) fn size_output(&self) -> usize {
        match &self.weight {
            WeightGradient::Matrix(weight) => weight.dims()[1],
            WeightGradient::Kernel(weight) => weight.dims()[0],
        }
    }

    /// This gradient with what a function makes of each block of its outputs, as rows `[groups, outputs, size_input]`, with a last column
    /// for the bias if `augmented`.
    fn map_blocks(
        self,
        kind: LayerKind,
        augmented: bool,
        function: impl Fn(OutputBlock, Tensor<B, 3>) -> Tensor<B, 3>,
    ) -> Self {
        let groups = match kind {
            LayerKind::Conv2d { groups } => groups,
            _ => 1,
        };
        let rows = self.to_rows(groups, augmented);
        let blocks = kind.output_blocks(self.size_output());
        let rows = match blocks[..] {
            [block] => function(block, rows),
            _ => {
                let parts = blocks.into_iter().map(|block| {
                    let rows = rows.clone().narrow(1, block.start, block.outputs);
                    function(block, rows)
                });
                Tensor::cat(parts.collect(), 1)
            }
        };
        self.with_rows(rows, augmented)
    }

    /// The gradient as `[groups, size_output / groups, size_input]`, with a last column for the bias if `augmented`: 0 where
    /// the bias is not trained.
    pub(crate) fn to_rows(&self, groups: usize, augmented: bool) -> Tensor<B, 3> {
        let rows = match &self.weight {
            WeightGradient::Matrix(weight) => weight.clone().transpose().unsqueeze_dim(0),
            WeightGradient::Kernel(weight) => {
                let [out, channels, height, width] = weight.dims();
                let size = channels * height * width;
                weight.clone().reshape([groups, out / groups, size])
            }
        };
        if !augmented {
            return rows;
        }
        let [groups, out, _] = rows.dims();
        let bias = match &self.bias {
            Some(bias) => bias.clone().reshape([groups, out, 1]),
            None => Tensor::zeros([groups, out, 1], (&rows.device(), rows.dtype())),
        };
        Tensor::cat(vec![rows, bias], 2)
    }

    /// This gradient with the values of [`to_rows`](Self::to_rows)'s form.
    pub(crate) fn with_rows(self, rows: Tensor<B, 3>, augmented: bool) -> Self {
        let [groups, out, width] = rows.dims();
        let size = width - usize::from(augmented);
        let bias = self.bias.map(|_| {
            let bias = rows.clone().narrow(2, size, 1);
            bias.reshape([groups * out])
        });
        let weight = rows.narrow(2, 0, size);
        Self {
            weight: match self.weight {
                WeightGradient::Matrix(_) => {
                    WeightGradient::Matrix(weight.squeeze_dim::<2>(0).transpose())
                }
                WeightGradient::Kernel(before) => {
                    WeightGradient::Kernel(weight.reshape(before.dims()))
                }
            },
            bias,
            ..self
        }
    }
}

impl<B: Backend> WeightGradient<B> {
    pub(crate) fn device(&self) -> B::Device {
        match self {
            Self::Matrix(weight) => weight.device(),
            Self::Kernel(weight) => weight.device(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Matrix(weight) => weight.dtype(),
            Self::Kernel(weight) => weight.dtype(),
        }
    }
}

fn product<B: Backend, const D: usize>(left: &Tensor<B, D>, right: &Tensor<B, D>) -> Tensor<B, 1> {
    (left.clone() * right.clone()).sum()
}

/// Replaces a tensor by what a function makes of it.
fn replace<B: Backend, const D: usize>(
    tensor: &mut Tensor<B, D>,
    function: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
) {
    let empty = Tensor::empty([0; D], (&tensor.device(), tensor.dtype()));
    *tensor = function(std::mem::replace(tensor, empty));
}
