//! Curvatures in records, and back.

use super::eva::{Eva, EvaRecord};
use super::foof::{Foof, FoofRecord};
use super::kfac::{Kfac, KfacRecord};
use super::smac::{Smac, SmacRecord};
use super::token_frequencies::{TokenFrequencies, TokenFrequenciesRecord};
use super::{
    Batches, Curvature, CurvatureKind, CurvatureSettings, InputCovarianceCurvature,
    InputCovarianceRecord, MeanActivation, MeanActivationRecord,
};
use crate::layer::{Layer, LayerKind, LayerRecord};
use crate::{InputCurvature, MacError};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

/// Any curvature in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum CurvatureRecord {
    MeanActivation(MeanActivationRecord),
    InputCovariance(InputCovarianceRecord),
    Smac(SmacRecord),
    Foof(FoofRecord),
    Eva(EvaRecord),
    Kfac(KfacRecord),
    TokenFrequencies(TokenFrequenciesRecord),
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
            Self::TokenFrequencies(record) => &record.layer,
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
            Self::TokenFrequencies(record) => Some(record.counts.batches()),
        }
    }

    /// The name of the optimizer whose curvature it is, for one with curvatures of this kind; none if that may have it.
    pub(crate) fn optimizer(&self, kind: CurvatureKind) -> Option<&'static str> {
        match (self, kind) {
            (
                Self::MeanActivation(_) | Self::InputCovariance(_),
                CurvatureKind::Mac(_) | CurvatureKind::Smac { .. },
            ) => None,
            (Self::TokenFrequencies(_), _) => None,
            (Self::MeanActivation(_) | Self::InputCovariance(_), _) => Some("MAC"),
            (Self::Smac(_), _) => Some("SMAC"),
            (Self::Foof(_), _) => Some("FOOF"),
            (Self::Eva(_), _) => Some("Eva"),
            (Self::Kfac(record), CurvatureKind::Kfac(settings)) if !record.is_of(settings) => {
                Some("K-FAC with another `weight_sharing` or `gradient_scale`")
            }
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
            Self::TokenFrequencies(record) => {
                layer.kind == LayerKind::Embedding && record.fits(size)
            }
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
            (Self::TokenFrequencies(record), _) => {
                let Some(damping) = settings.embedding_damping else {
                    return Ok(None);
                };
                Box::new(TokenFrequencies::from_record(
                    record, layer, damping, device,
                ))
            }
            (Self::Foof(_) | Self::Kfac(_), _) => return Ok(None),
        }))
    }
}

/// The shapes of the statistics of a layer with a weight.
pub(crate) struct Shapes {
    /// Of the second moments of its inputs.
    pub(crate) parts: Vec<[usize; 3]>,
    /// The same for each block of outputs.
    blocks: Vec<[usize; 3]>,
    /// Of the second moments of the gradients at the outputs of each block.
    pub(crate) outputs: Vec<[usize; 3]>,
    /// Of the means of its inputs.
    means: [usize; 3],
    /// Of the means of the gradients at the outputs of each block.
    pub(crate) vectors: Vec<[usize; 3]>,
}

impl Shapes {
    fn new(layer: Layer, weight: &[usize], settings: CurvatureSettings) -> Self {
        Self::with_ones(layer, weight, settings.covers_bias(layer))
    }

    /// Of what a recorder sums.
    pub(crate) fn recorded(layer: Layer, weight: &[usize]) -> Self {
        Self::with_ones(layer, weight, layer.bias.is_some())
    }

    /// With the 1 that a bias adds to the inputs, or without.
    fn with_ones(layer: Layer, weight: &[usize], ones: bool) -> Self {
        let (means, size) = layer.kind.means_and_size(weight);
        let width = size + usize::from(ones);
        let groups = layer.kind.groups();
        let parts = means / groups;
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
