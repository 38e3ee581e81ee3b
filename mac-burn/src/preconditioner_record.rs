use crate::curvature::{Curvature, CurvatureRecord};
use crate::dense::{DenseCurvature, DenseRecord};
use crate::record::layer::LayerParameters;
use crate::survey::Survey;
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

    pub(crate) fn check_version(&self) -> Result<(), MacError> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(MacError::RecordVersion {
            found: self.version,
            expected: VERSION,
        })
    }

    pub(crate) fn set_damping(&mut self, damping: f64) {
        self.damping = damping;
    }

    pub(crate) fn set_stat_decay(&mut self, stat_decay: f64) {
        self.stat_decay = stat_decay;
    }

    /// Takes the place of what the record has of the same layer.
    pub(crate) fn insert_dense(&mut self, dense: DenseRecord) {
        self.dense.retain(|known| known.weight() != dense.weight());
        self.dense.push(dense);
    }

    /// Finds the record's layers in a module.
    pub(crate) fn resolve<B: AutodiffBackend>(
        self,
        survey: &Survey<B>,
    ) -> Result<Resolved<B>, MacError> {
        let mut layers = HashMap::new();
        for record in self.layers {
            let (parameters, shape, device) = find(survey, record.weight())?;
            let (means, size) = parameters.kind.means_and_size(&shape);
            if record.means_and_size() != Some((means, size)) {
                return Err(other_size(survey, parameters, &shape));
            }
            let curvature = Curvature::from_record(record, parameters, &device);
            layers.insert(parameters.weight, curvature);
        }
        let mut dense = HashMap::new();
        for record in self.dense {
            let (parameters, shape, _) = find(survey, record.weight())?;
            let (groups, size) = parameters.kind.means_and_size(&shape);
            let size = size + usize::from(parameters.bias.is_some());
            if record.groups_and_size() != (groups, size) {
                return Err(other_size(survey, parameters, &shape));
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

type Location<B> = (
    LayerParameters,
    Vec<usize>,
    <B as burn::tensor::backend::BackendTypes>::Device,
);

fn find<B: Backend>(survey: &Survey<B>, weight: Option<ParamId>) -> Result<Location<B>, MacError> {
    let mut recorders = survey.recorders.iter().filter_map(|found| found.parameters);
    weight
        .and_then(|id| {
            let parameters = recorders.find(|parameters| parameters.weight == id)?;
            let weight = survey.parameter(id)?;
            Some((parameters, weight.shape.clone(), weight.device.clone()))
        })
        .ok_or_else(|| MacError::RecordOfAnotherModel {
            problem: "it has statistics of a layer that the module does not have".into(),
        })
}

fn other_size<B: Backend>(
    survey: &Survey<B>,
    parameters: LayerParameters,
    shape: &[usize],
) -> MacError {
    let path = survey
        .parameter(parameters.weight)
        .map_or("", |weight| weight.layer_path());
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
