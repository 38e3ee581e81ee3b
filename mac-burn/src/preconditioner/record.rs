use crate::MacError;
use crate::config::{check_damping, check_stat_decay};
use crate::curvature::{
    Curvature, CurvatureKind, CurvatureRecord, CurvatureSettings, InputCovarianceRecord,
    MeanActivationRecord,
};
use crate::inventory::Inventory;
use crate::layer::{Layer, LayerKind};
use crate::statistics::collector::RecorderHolder;
use burn::module::ParamId;
use burn::record::{PrecisionSettings, Record};
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The version of the record that this crate writes.
const VERSION: u32 = 3;
/// The oldest version that it reads.
const OLDEST: u32 = 1;

/// Everything that the next step of a [`MacPreconditioner`](crate::MacPreconditioner) depends on.
///
/// Statistics are stored in their own float type, whatever the precision of the recorder that writes the file, so that
/// a resumed run continues bit for bit. Records of versions 1 and 2 are read from formats that name their fields, such as those
/// of Burn's `NamedMpkFileRecorder` and `PrettyJsonFileRecorder`.
#[derive(Debug, Clone, Serialize)]
pub struct MacPreconditionerRecord {
    version: u32,
    step: u64,
    damping: Setting,
    stat_decay: Setting,
    curvatures: Vec<CurvatureRecord>,
    /// Whether the momentum beside it is of gradients that were not preconditioned.
    of_raw_momentum: bool,
}

/// A setting that may be changed during training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// The value of the configuration.
    #[serde(with = "crate::number")]
    configured: f64,
    /// The value in use.
    #[serde(with = "crate::number")]
    pub(crate) current: f64,
}

impl Setting {
    pub(crate) fn new(configured: f64) -> Self {
        Self {
            configured,
            current: configured,
        }
    }

    /// This setting of a configuration after a record was loaded. What was changed during training is state and comes
    /// back, unless the configuration is no longer that of the record.
    pub(crate) fn resumed(self, record: Self, name: &str) -> Self {
        // JSON may round a number when it is read.
        let rounding = 2.0 * f64::EPSILON * self.configured.abs();
        let same = self.configured == record.configured
            // Infinity is near no other number.
            || rounding.is_finite() && (self.configured - record.configured).abs() <= rounding;
        if same {
            return Self {
                current: record.current,
                ..self
            };
        }
        log::info!(
            "`{name}` is {} as configured; the record was written with {}, configured as {}",
            self.configured,
            record.current,
            record.configured
        );
        self
    }
}

/// Curvatures by the weight of their layer.
pub(crate) type Curvatures<B> =
    BTreeMap<ParamId, Box<dyn Curvature<<B as AutodiffBackend>::InnerBackend>>>;

impl MacPreconditionerRecord {
    pub(super) fn new(
        step: u64,
        (damping, stat_decay): (Setting, Setting),
        curvatures: Vec<CurvatureRecord>,
        of_raw_momentum: bool,
    ) -> Self {
        Self {
            version: VERSION,
            step,
            damping,
            stat_decay,
            curvatures,
            of_raw_momentum,
        }
    }

    /// This record, which waits for its module, with what was set since it was loaded.
    pub(super) fn updated(
        mut self,
        (damping, stat_decay): (Setting, Setting),
        measured: impl Iterator<Item = CurvatureRecord>,
    ) -> Self {
        self.version = VERSION;
        self.damping = damping;
        self.stat_decay = stat_decay;
        for record in measured {
            let weight = |record: &CurvatureRecord| Some(record.layer().layer()?.weight);
            self.curvatures
                .retain(|known| weight(known) != weight(&record));
            self.curvatures.push(record);
        }
        self
    }

    /// Checks what can be checked without the module.
    pub(crate) fn check(&self) -> Result<(), MacError> {
        if !(OLDEST..=VERSION).contains(&self.version) {
            return Err(MacError::RecordVersion {
                found: self.version,
                expected: VERSION,
            });
        }
        check_damping(self.damping.current)?;
        check_stat_decay(self.stat_decay.current)
    }

    /// Checks that its momentum is what a step expects.
    pub(super) fn check_momentum(&self, raw: bool) -> Result<(), MacError> {
        let name = |raw| if raw { "raw" } else { "preconditioned" };
        match self.of_raw_momentum == raw {
            true => Ok(()),
            false => Err(MacError::RecordOfAnotherStep {
                found: name(self.of_raw_momentum),
                expected: name(raw),
            }),
        }
    }

    /// Checks that its curvatures are of this kind; by mean, and by mean and variance, MAC's take each other's place.
    pub(super) fn check_curvature(&self, kind: CurvatureKind) -> Result<(), MacError> {
        let expected = kind.name();
        let all = self.curvatures.iter();
        let found = all
            .filter_map(|record| record.optimizer(kind))
            .find(|found| *found != expected);
        match found {
            None => Ok(()),
            Some(found) => Err(MacError::RecordOfAnotherCurvature { found, expected }),
        }
    }

    pub(crate) fn is_of_version_1(&self) -> bool {
        self.version == 1
    }

    pub(super) fn has_input_covariance(&self) -> bool {
        self.curvatures.iter().any(CurvatureRecord::is_measured)
    }

    pub(super) fn step(&self) -> u64 {
        self.step
    }

    pub(super) fn settings(&self) -> (Setting, Setting) {
        (self.damping, self.stat_decay)
    }

    /// The curvatures of the record, for the layers of a module that they belong to.
    pub(super) fn restore<B: AutodiffBackend>(
        self,
        inventory: &Inventory<B>,
        settings: CurvatureSettings,
    ) -> Result<Curvatures<B>, MacError> {
        let mut curvatures = Curvatures::<B>::new();
        for record in self.curvatures {
            let layer = find(inventory, &record).ok_or_else(|| MacError::RecordOfAnotherModel {
                problem: "it has statistics of a layer that the module does not have".into(),
            })?;
            let Some(weight) = inventory.parameter(layer.weight) else {
                continue;
            };
            if layer.kind == LayerKind::Embedding && settings.embedding_damping.is_none() {
                continue;
            }
            let restored = record.restore(layer, &weight.shape, settings, &weight.device)?;
            let restored = restored.ok_or_else(|| MacError::RecordOfAnotherModel {
                problem: format!(
                    "its statistics of `{}` do not fit the weight of shape {:?}, or `auxiliary_biases` was another",
                    weight.layer_path(),
                    weight.shape
                ),
            })?;
            curvatures.insert(layer.weight, restored);
        }
        Ok(curvatures)
    }
}

/// Finds the layer of a record in a module. A recorder of the user's own knows its layer only after a forward pass, one of a backend sees the weight in any map,
/// and a layer with a measured covariance needs none; there the record is believed.
fn find<B: AutodiffBackend>(inventory: &Inventory<B>, record: &CurvatureRecord) -> Option<Layer> {
    let layer = record.layer().layer()?;
    let weight = inventory.parameter(layer.weight)?;
    let recorded = inventory.recorders.iter().any(|recorder| {
        recorder.holder == RecorderHolder::Backend
            || recorder.layer.is_none_or(|recorded| recorded == layer)
    });
    ((recorded || record.is_measured()) && layer.kind.fits(&weight.shape)).then_some(layer)
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

/// The fields of all versions, where a format names them. Those of a version to come may have other names, so none is
/// required: [`MacPreconditionerRecord::check`] tells by the version.
#[derive(Deserialize)]
struct NamedFields {
    version: Option<u32>,
    #[serde(default)]
    step: u64,
    damping: Option<VersionedSetting>,
    stat_decay: Option<VersionedSetting>,
    #[serde(default)]
    curvatures: Vec<CurvatureRecord>,
    /// Not before version 3.
    #[serde(default)]
    of_raw_momentum: bool,
    /// Mean activations in version 1.
    #[serde(default)]
    layers: Vec<MeanActivationRecord>,
    /// Input covariances in version 1.
    #[serde(default)]
    dense: Vec<InputCovarianceRecord>,
}

/// A setting, of which version 1 has the value in use only.
#[derive(Deserialize)]
#[serde(untagged)]
enum VersionedSetting {
    Setting(Setting),
    Current(f64),
}

impl VersionedSetting {
    fn setting(self) -> Setting {
        match self {
            Self::Setting(setting) => setting,
            Self::Current(current) => Setting::new(current),
        }
    }
}

/// The fields after the version, where a format has only their order.
#[derive(Deserialize)]
struct FieldsInOrder {
    step: u64,
    damping: Setting,
    stat_decay: Setting,
    curvatures: Vec<CurvatureRecord>,
    of_raw_momentum: bool,
}

impl<'de> Deserialize<'de> for MacPreconditionerRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const FIELDS: &[&str] = &[
            "version",
            "step",
            "damping",
            "stat_decay",
            "curvatures",
            "of_raw_momentum",
        ];
        deserializer.deserialize_struct("MacPreconditionerRecord", FIELDS, RecordVisitor)
    }
}

/// The error of a file that holds something else.
pub(crate) fn not_a_record(problem: impl ToString) -> MacError {
    MacError::NotARecord {
        problem: problem.to_string(),
        expected: VERSION,
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = MacPreconditionerRecord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record of a MacPreconditioner")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let fields = NamedFields::deserialize(MapAccessDeserializer::new(map))?;
        let mut curvatures = fields.curvatures;
        let means = fields
            .layers
            .into_iter()
            .map(CurvatureRecord::MeanActivation);
        curvatures.extend(means);
        let covariances = fields.dense.into_iter();
        curvatures.extend(covariances.map(CurvatureRecord::InputCovariance));
        let setting = |found: Option<VersionedSetting>| {
            found.map_or(Setting::new(f64::NAN), VersionedSetting::setting)
        };
        let version = fields
            .version
            .ok_or_else(|| Error::custom(not_a_record("it has no version")))?;
        Ok(MacPreconditionerRecord {
            version,
            step: fields.step,
            damping: setting(fields.damping),
            stat_decay: setting(fields.stat_decay),
            curvatures,
            of_raw_momentum: fields.of_raw_momentum,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let version = sequence.next_element()?;
        let version: u32 = version.ok_or_else(|| Error::invalid_length(0, &self))?;
        if version != VERSION {
            // The fields of another version are others, and nothing tells where they end.
            return Err(Error::custom(MacError::RecordVersion {
                found: version,
                expected: VERSION,
            }));
        }
        let fields = FieldsInOrder::deserialize(SeqAccessDeserializer::new(sequence))
            .map_err(|error| Error::custom(not_a_record(error)))?;
        Ok(MacPreconditionerRecord {
            version,
            step: fields.step,
            damping: fields.damping,
            stat_decay: fields.stat_decay,
            curvatures: fields.curvatures,
            of_raw_momentum: fields.of_raw_momentum,
        })
    }
}
