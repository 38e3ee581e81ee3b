//! Curvatures of single layers, and what they are applied to.

mod averages;
mod input_covariance;
mod inverse_root;
mod matrices;
mod mean_activation;
mod rank_one;
mod whitened_mean;

pub use input_covariance::{FirstLayer, InputCovariance};
pub(crate) use input_covariance::{InputCovarianceCurvature, InputCovarianceRecord};
pub(crate) use inverse_root::InverseRoot;
pub(crate) use matrices::Matrices;
pub(crate) use mean_activation::{MeanActivation, MeanActivationRecord};
#[cfg(test)]
pub(crate) use whitened_mean::WhitenedMean;

use crate::layer::{Layer, LayerKind, LayerRecord};
use crate::optimizer::gradients::Preparation;
use crate::precision::{as_dtype, at_least_f32};
use crate::report::Coverage;
use crate::statistics::ActivationSums;
use crate::{InputCurvature, MacError};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, DType, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Curvature of one layer: what is known of it, and the preconditioner made of that.
///
/// Nothing here waits for the device but [`to_record`](Self::to_record), [`report`](Self::report) and what
/// inverts a matrix on the host, which a curvature says of itself.
pub(crate) trait Curvature<B: Backend>: Debug + Send + Sync {
    /// The layer.
    fn layer(&self) -> Layer;

    /// Whether it is made of what recorders see.
    fn wants_activations(&self) -> bool;

    /// Takes the sums of a step into the moving averages, whose decay is `decay`.
    ///
    /// Returns the batches so far if it left some of this one out, where that is known without waiting for a device.
    fn observe(&mut self, sums: ActivationSums<B>, decay: f64) -> Option<Batches>;

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

/// The settings of a layer's curvature: what it is made of, and what it preconditions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CurvatureSettings {
    pub(crate) inputs: InputCurvature,
    pub(crate) damping: f64,
    /// Whether a bias is preconditioned with its weight, to which it adds an input of 1.
    pub(crate) biases: bool,
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
    /// Bytes of the tensors held between steps.
    pub(crate) bytes: usize,
}

/// Any curvature in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "records are few, and most are of the larger kind"
)]
pub(crate) enum CurvatureRecord {
    MeanActivation(MeanActivationRecord),
    InputCovariance(InputCovarianceRecord),
}

impl CurvatureRecord {
    pub(crate) fn layer(&self) -> &LayerRecord {
        match self {
            Self::MeanActivation(record) => &record.layer,
            Self::InputCovariance(record) => &record.layer,
        }
    }

    /// The batches that were offered to the layer's moving average; none if there is no such average.
    pub(crate) fn batches(&self) -> Option<Batches> {
        match self {
            Self::MeanActivation(record) => Some(record.batches()),
            Self::InputCovariance(_) => None,
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
        let (means, size) = layer.kind.means_and_size(weight);
        Ok(match self {
            Self::MeanActivation(record) => record.fits(means, size).then(|| {
                let restored = MeanActivation::from_record(record, layer, settings, device);
                Box::new(restored) as Box<dyn Curvature<B>>
            }),
            Self::InputCovariance(record) => {
                if !record.fits(means, size + usize::from(layer.bias.is_some())) {
                    return Ok(None);
                }
                let restored =
                    InputCovarianceCurvature::from_record(record, layer, settings.damping)?;
                Some(Box::new(restored))
            }
        })
    }
}

/// The gradients of a layer's parameters, in `f32` or wider.
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

    pub(crate) fn size_output(&self) -> usize {
        match &self.weight {
            WeightGradient::Matrix(weight) => weight.dims()[1],
            WeightGradient::Kernel(weight) => weight.dims()[0],
        }
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

/// Replaces a tensor by what a function makes of it.
fn replace<B: Backend, const D: usize>(
    tensor: &mut Tensor<B, D>,
    function: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
) {
    let empty = Tensor::empty([0; D], (&tensor.device(), tensor.dtype()));
    *tensor = function(std::mem::replace(tensor, empty));
}
