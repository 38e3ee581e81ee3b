//! Curvatures of single layers, and what they are applied to.

mod averages;
mod eva;
mod factor;
mod foof;
mod gradient;
mod input_covariance;
mod inverse_root;
mod kfac;
mod matrices;
mod mean_activation;
mod moving_average;
mod rank_one;
mod record;
mod smac;
mod token_frequencies;
mod whitened_mean;

pub(crate) use gradient::{LayerGradient, WeightGradient};
pub use input_covariance::{FirstLayer, InputCovariance};
pub(crate) use input_covariance::{InputCovarianceCurvature, InputCovarianceRecord};
pub(crate) use inverse_root::InverseRoot;
pub(crate) use kfac::KfacSettings;
pub use kfac::{GradientScale, KfacDamping};
pub(crate) use matrices::Matrices;
pub(crate) use mean_activation::{MeanActivation, MeanActivationRecord};
pub(crate) use record::{CurvatureRecord, Shapes};
#[cfg(test)]
pub(crate) use whitened_mean::WhitenedMean;

use self::eva::Eva;
use self::factor::FailedInversions;
use self::foof::Foof;
use self::kfac::Kfac;
use self::smac::Smac;
use self::token_frequencies::TokenFrequencies;
use crate::layer::{Layer, LayerKind};
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic};
use crate::{InputCurvature, MacError};
use burn::tensor::backend::Backend;
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

    /// The statistics that the curvature of any layer but an embedding is made of.
    pub(crate) fn demand(self) -> Demand {
        match self {
            Self::Mac(_) => Demand::of(&[Statistic::Activations]),
            Self::Smac { .. } => Demand::of(&[Statistic::Activations, Statistic::OutputSquares]),
            Self::Foof { .. } => Demand::of(&[foof::INPUTS]),
            Self::Eva => Demand::of(&eva::DEMAND),
            Self::Kfac(settings) => settings.demand(),
        }
    }

    /// The statistics that a layer's curvature is made of. For an embedding they are the same with every kind.
    pub(crate) fn demand_of(self, layer: Layer) -> Demand {
        match layer.kind {
            LayerKind::Embedding => Demand::of(&[Statistic::Activations]),
            _ => self.demand(),
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
    /// The damping of the tokens' frequencies of embeddings; none if they are left alone.
    pub(crate) embedding_damping: Option<f64>,
}

impl CurvatureSettings {
    /// A curvature that has seen nothing, shaped like the first statistics of a layer; none if they are not what it is made of.
    pub(crate) fn curvature<B: Backend>(
        self,
        layer: Layer,
        statistics: &LayerStatistics<B>,
    ) -> Option<Box<dyn Curvature<B>>> {
        if layer.kind == LayerKind::Embedding {
            let frequencies = TokenFrequencies::new(layer, self.embedding_damping?, statistics)?;
            return Some(Box::new(frequencies));
        }
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
