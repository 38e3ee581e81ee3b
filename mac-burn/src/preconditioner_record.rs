use crate::config::{check_damping, check_stat_decay};
use crate::curvature::{Curvature, CurvatureRecord};
use crate::dense::{DenseCurvature, DenseRecord};
use crate::record::layer::{LayerParameters, LayerRecord};
use crate::survey::{Parameter, Survey};
use crate::{MacError, MacPreconditioner};
use burn::module::ParamId;
use burn::record::{PrecisionSettings, Record};
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The version of the record that this crate reads and writes.
const VERSION: u32 = 1;

/// Everything that the next step of a [`MacPreconditioner`] depends on.
///
/// Statistics are stored in their own float type, whatever the precision of the recorder that
/// writes the file, so that a resumed run continues bit for bit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MacPreconditionerRecord {
    version: u32,
    step: u64,
    damping: f64,
    stat_decay: f64,
    layers: Vec<CurvatureRecord>,
    dense: Vec<DenseRecord>,
}

/// A record whose layers have been found in a module.
pub(crate) struct Resolved<B: AutodiffBackend> {
    pub(crate) step: u64,
    pub(crate) damping: f64,
    pub(crate) stat_decay: f64,
    pub(crate) layers: HashMap<ParamId, Curvature<B::InnerBackend>>,
    pub(crate) dense: HashMap<ParamId, DenseCurvature<B::InnerBackend>>,
}

impl MacPreconditionerRecord {
    pub(crate) fn new<B: AutodiffBackend>(preconditioner: &MacPreconditioner<B>) -> Self {
        Self {
            version: VERSION,
            step: preconditioner.step(),
            damping: preconditioner.damping(),
            stat_decay: preconditioner.stat_decay(),
            layers: sorted(preconditioner.layers())
                .map(Curvature::to_record)
                .collect(),
            dense: sorted(preconditioner.dense())
                .map(DenseCurvature::to_record)
                .collect(),
        }
    }

    /// Checks what can be checked without the module.
    pub(crate) fn check(&self) -> Result<(), MacError> {
        if self.version != VERSION {
            return Err(MacError::RecordVersion {
                found: self.version,
                expected: VERSION,
            });
        }
        check_damping(self.damping)?;
        check_stat_decay(self.stat_decay)
    }

    pub(crate) fn set_damping(&mut self, damping: f64) {
        self.damping = damping;
    }

    pub(crate) fn set_stat_decay(&mut self, stat_decay: f64) {
        self.stat_decay = stat_decay;
    }

    /// Takes the place of what the record has of the same layer.
    pub(crate) fn insert_dense(&mut self, dense: DenseRecord) {
        let weight = |record: &DenseRecord| record.layer.parameters().map(|layer| layer.weight);
        self.dense.retain(|known| weight(known) != weight(&dense));
        self.dense.push(dense);
    }

    /// Finds the record's layers in a module.
    pub(crate) fn resolve<B: AutodiffBackend>(
        self,
        survey: &Survey<B>,
    ) -> Result<Resolved<B>, MacError> {
        let mut layers = HashMap::new();
        for record in self.layers {
            let (parameters, weight) = find(survey, &record.layer)?;
            let (means, size) = parameters.kind.means_and_size(&weight.shape);
            if !record.fits(means, size) {
                return Err(other_size(weight));
            }
            let curvature = Curvature::from_record(record, parameters, &weight.device);
            layers.insert(parameters.weight, curvature);
        }
        let mut dense = HashMap::new();
        for record in self.dense {
            let (parameters, weight) = find(survey, &record.layer)?;
            let (groups, size) = parameters.kind.means_and_size(&weight.shape);
            if !record.fits(groups, size + usize::from(parameters.bias.is_some())) {
                return Err(other_size(weight));
            }
            let curvature = DenseCurvature::from_record(record, parameters, self.damping)?;
            dense.insert(parameters.weight, curvature);
        }
        Ok(Resolved {
            step: self.step,
            damping: self.damping,
            stat_decay: self.stat_decay,
            layers,
            dense,
        })
    }
}

/// By weight, so that equal states make equal files.
fn sorted<T>(by_weight: &HashMap<ParamId, T>) -> impl Iterator<Item = &T> {
    let sorted: BTreeMap<_, _> = by_weight.iter().collect();
    sorted.into_values()
}

/// Finds the layer of a record in a module. A recorder of the user's own knows its layer only after a
/// forward pass; until then the record is believed.
fn find<'a, B: Backend>(
    survey: &'a Survey<B>,
    layer: &LayerRecord,
) -> Result<(LayerParameters, &'a Parameter<B>), MacError> {
    let found = layer.parameters().and_then(|layer| {
        let weight = survey.parameter(layer.weight)?;
        let recorded = survey.recorders.iter().any(|recorder| {
            recorder
                .parameters
                .is_none_or(|parameters| parameters == layer)
        });
        (recorded && layer.kind.fits(&weight.shape)).then_some((layer, weight))
    });
    found.ok_or_else(|| MacError::RecordOfAnotherModel {
        problem: "it has statistics of a layer that the module does not have".into(),
    })
}

fn other_size<B: Backend>(weight: &Parameter<B>) -> MacError {
    let (path, shape) = (weight.layer_path(), &weight.shape);
    MacError::RecordOfAnotherModel {
        problem: format!("its statistics of `{path}` do not fit the weight of shape {shape:?}"),
    }
}

impl<B: Backend> Record<B> for MacPreconditionerRecord {
    type Item<S: PrecisionSettings> = Self;

    fn into_item<S: PrecisionSettings>(self) -> Self::Item<S> {
        self
    }

    fn from_item<S: PrecisionSettings>(item: Self::Item<S>, _device: &B::Device) -> Self {
        item
    }
}
