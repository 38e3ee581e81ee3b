//! A case as its folder has it, and which cases this project means to reproduce.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use burn::tensor::TensorData;
use mac_burn::MacError;
use mac_burn_tests::files::{FileError, list, read, read_json};
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorInfo};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    layer_spec::{Conv2dSpec, Extent, LayerKind, LayerSpec, Padding},
    optimizer::{self, Change, Optimizer},
};

/// One run of the authors' code: everything about it that is not a tensor.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Case {
    #[serde(rename = "case")]
    pub(crate) name: String,
    pub(crate) official: Official,
    pub(crate) hyper: Hyper,
    pub(crate) lr_per_step: Option<Vec<f64>>,
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    #[serde(default)]
    pub(crate) calibration_batches: Vec<usize>,
    pub(crate) loss: String,
    pub(crate) grad_recorded_at_steps: BTreeSet<usize>,
    pub(crate) update: String,
    /// The learning rate that the KL clip has for the whole run.
    pub(crate) preconditioner_lr: Option<f64>,
    pub(crate) kl_clip: Option<f64>,
    pub(crate) architecture: Architecture,
    pub(crate) first_layer: Option<String>,
    pub(crate) param_groups: Vec<ParameterGroup>,
    pub(crate) param_shapes: BTreeMap<String, Vec<usize>>,
    pub(crate) float64_max_abs_diff: f64,
    pub(crate) float64_max_abs_diff_loss: f64,
    pub(crate) float64_max_abs_diff_precond: f64,
    /// No file has this: it is how tests make a mistake.
    #[serde(skip)]
    pub(crate) qkv_means: QkvMeans,
    /// The same.
    #[serde(skip)]
    pub(crate) change: Option<Change>,
    /// No file has this either: it is how a network is built for a backend that records.
    #[serde(skip)]
    pub(crate) layers: Layers,
}

/// The layers that a network is built of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layers {
    /// Each of which has a recorder.
    #[default]
    Recorded,
    /// Burn's own.
    Plain,
}

/// The means by which attention's projection to queries, keys and values is preconditioned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum QkvMeans {
    /// The mean of the tokens for queries and keys, the attention-weighted one for values: MAC.
    #[default]
    TokensAndAttended,
    /// The mean of the tokens for all three. Attention averaged over the keys in place of the queries
    /// comes to the same: it gives each key the weight `1 / N`.
    Tokens,
    /// The attention-weighted mean for all three.
    Attended,
}

/// The class of the authors' code that made the trace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Official {
    /// The path in the authors' repository.
    #[serde(default)]
    pub(crate) file: String,
    pub(crate) cls: String,
}

impl Official {
    /// The folder that the class belongs to, whose classes are other ones than those of the same name elsewhere.
    pub(crate) fn folder(&self) -> &str {
        self.file.split('/').next().unwrap_or_default()
    }
}

/// The constructor arguments of the authors' optimizer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hyper {
    pub(crate) lr: f64,
    pub(crate) momentum: f64,
    pub(crate) stat_decay: f64,
    pub(crate) damping: f64,
    #[serde(rename = "Tcov")]
    pub(crate) tcov: usize,
    #[serde(rename = "Tinv")]
    pub(crate) tinv: usize,
}

/// The network, its layers still unread: a case of another optimizer or architecture may have
/// layers that this harness does not know, and must still be reported by its own name.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Architecture {
    pub(crate) kind: String,
    /// The arguments of timm's constructor, for a network of timm's.
    #[serde(default)]
    pub(crate) timm_args: Map<String, Value>,
    pub(crate) layers: Vec<Value>,
}

/// An architecture that the harness can build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchitectureKind {
    Sequential,
    VisionTransformer,
}

impl Architecture {
    /// The architecture, which `case.json` states in words.
    pub(crate) fn known(&self) -> Result<ArchitectureKind, TraceError> {
        if self.kind.starts_with("nn.Sequential") {
            Ok(ArchitectureKind::Sequential)
        } else if self.kind == "timm VisionTransformer" {
            Ok(ArchitectureKind::VisionTransformer)
        } else {
            Err(TraceError::Unsupported(format!(
                "the architecture `{}` is not known",
                self.kind
            )))
        }
    }
}

/// Parameters that share a weight decay.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ParameterGroup {
    pub(crate) weight_decay: f64,
    pub(crate) params: BTreeSet<String>,
}

impl Case {
    /// Reads `case.json` of a case's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, TraceError> {
        Ok(read_json(&folder.join("case.json"))?)
    }

    /// The learning rate of a step.
    pub(crate) fn lr(&self, step: usize) -> f64 {
        self.lr_per_step
            .as_ref()
            .and_then(|rates| rates.get(step).copied())
            .unwrap_or(self.hyper.lr)
    }

    /// The optimizer's settings, its weight decay and exemptions from it left to the caller.
    pub(crate) fn optimizer(&self) -> Result<Optimizer, TraceError> {
        let mut optimizer = Optimizer::of(self)?;
        if let Some(change) = self.change {
            change(&mut optimizer);
        }

        Ok(optimizer)
    }

    /// Whether the replay takes reciprocals of 32 numbers or more at a time, which `NdArray<f32>` does by
    /// the processor's approximation: off by 6e-5 with AVX-512 and by 4e-4 with AVX2.
    ///
    /// Burn 0.21 differentiates a division and a logarithm by `recip`. Norms and attention divide, and
    /// the loss takes a logarithm for each sample.
    pub(crate) fn takes_reciprocals(&self) -> bool {
        let norm = |layer: &Value| {
            let kind = layer["type"].as_str();
            kind.is_some_and(|kind| kind.contains("Norm"))
        };

        self.batch >= 32 || self.architecture.layers.iter().any(norm)
    }

    /// Whether the loss is the one that the harness computes.
    pub(crate) fn check_loss(&self) -> Result<(), TraceError> {
        if self
            .loss
            .starts_with("CrossEntropyLoss (mean over the batch")
        {
            return Ok(());
        }

        Err(TraceError::Unsupported(format!(
            "the loss `{}` is not known",
            self.loss
        )))
    }

    /// The weight decay of a parameter, by its group.
    pub(crate) fn weight_decay(&self, parameter: &str) -> Result<f64, TraceError> {
        self.param_groups
            .iter()
            .find(|group| group.params.contains(parameter))
            .map(|group| group.weight_decay)
            .ok_or_else(|| TraceError::Ungrouped(parameter.to_owned()))
    }

    /// Moves a parameter to a group of its own.
    pub(crate) fn put_in_group(&mut self, parameter: &str, weight_decay: f64) {
        for group in &mut self.param_groups {
            group.params.remove(parameter);
        }
        self.param_groups.push(ParameterGroup {
            weight_decay,
            params: BTreeSet::from([parameter.to_owned()]),
        });
    }
}

/// The bytes before the header of a safetensors file, which have its length.
const LENGTH: usize = 8;

/// The bytes of a trace, and where in them each tensor is.
pub(crate) struct Trace {
    bytes: Vec<u8>,
    /// The place at which the tensors' own bytes begin.
    start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Trace {
    /// Reads `trace.safetensors` of a case's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, TraceError> {
        let bytes = read(&folder.join("trace.safetensors"))?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes)?;
        let tensors = metadata.tensors().into_iter();
        let tensors = tensors.map(|(key, info)| (key, info.clone())).collect();

        Ok(Self {
            bytes,
            start: LENGTH + header,
            tensors,
        })
    }

    /// A tensor in PyTorch's layout: floats as `f64`, which holds every `f32` exactly, integers as `i64`.
    pub(crate) fn tensor(&self, key: &str) -> Result<TensorData, TraceError> {
        let info = self
            .tensors
            .get(key)
            .ok_or_else(|| TraceError::MissingTensor(key.to_owned()))?;
        let (from, to) = info.data_offsets;
        let bytes = &self.bytes[self.start + from..self.start + to];
        let shape = info.shape.clone();

        match info.dtype {
            Dtype::F32 => Ok(TensorData::new(
                elements(bytes, |b| f64::from(f32::from_le_bytes(b))),
                shape,
            )),
            Dtype::F64 => Ok(TensorData::new(elements(bytes, f64::from_le_bytes), shape)),
            Dtype::I64 => Ok(TensorData::new(elements(bytes, i64::from_le_bytes), shape)),
            dtype => Err(TraceError::ElementType {
                key: key.to_owned(),
                dtype,
            }),
        }
    }

    /// The values of a float tensor, row by row in PyTorch's layout.
    pub(crate) fn floats(&self, key: &str) -> Result<Vec<f64>, TraceError> {
        Ok(self.tensor(key)?.iter::<f64>().collect())
    }

    /// The rest of each key that starts with `prefix`, sorted.
    pub(crate) fn suffixes(&self, prefix: &str) -> Vec<String> {
        self.tensors
            .keys()
            .filter_map(|key| key.strip_prefix(prefix))
            .map(str::to_owned)
            .collect()
    }
}

/// Little-endian elements of `N` bytes each.
fn elements<T, const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|chunk| element(*chunk))
        .collect()
}

/// The subfolders that hold a case, sorted.
pub(crate) fn case_folders(folder: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let folders = list(folder, |path| path.join("case.json").is_file())?;
    match folders.is_empty() {
        true => Err(TraceError::NoCase(folder.to_owned())),
        false => Ok(folders),
    }
}

/// Why a case is not replayed; none if it is.
///
/// An update rule, an architecture or a layer that the harness does not know is an error, not a reason: the
/// case would be one of a known optimizer.
pub(crate) fn not_covered(case: &Case) -> Result<Option<String>, TraceError> {
    if let Some(reason) = optimizer::not_covered(case) {
        return Ok(Some(reason));
    }
    case.optimizer()?;
    case.architecture.known()?;
    for value in &case.architecture.layers {
        let spec = LayerSpec::read(value)?;
        let LayerKind::Conv2d(conv) = &spec.kind else {
            continue;
        };
        if let Some(deviation) = conv.deviation() {
            return Ok(Some(format!("`{}`: {deviation}", spec.name)));
        }
    }

    Ok(None)
}

impl Conv2dSpec {
    /// How the mean patch of the authors' code differs from that of the convolution, as the README of
    /// the traces states; this project takes the patches that the kernel sees.
    fn deviation(&self) -> Option<&'static str> {
        if self.groups > 1 {
            Some("the authors' code shares one mean between the channels of a grouped convolution")
        } else if self.dilation.sides() != Extent::Square(1).sides() {
            Some("the authors' mean patch ignores dilation")
        } else if self.padding_mode != "zeros" {
            Some("the authors' mean patch is padded with zeros whatever the padding mode")
        } else if self.padding == Padding::Named("valid".to_owned()) {
            Some("the authors' mean patch takes the padding `valid` for `same`")
        } else {
            None
        }
    }
}

/// A case that cannot be read or built; never a difference in numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the trace is no safetensors file: {0}")]
    Safetensors(#[from] SafeTensorError),
    #[error("the trace has no tensor `{0}`")]
    MissingTensor(String),
    #[error("tensor `{key}` has the element type {dtype}, which is not read")]
    ElementType { key: String, dtype: Dtype },
    #[error("layer `{layer}`: {reason}")]
    Layer { layer: String, reason: String },
    #[error("parameter `{0}` of the case is in no layer of the network")]
    UnknownParameter(String),
    #[error("parameter `{0}` of the network is not in the case")]
    ExtraParameter(String),
    #[error("parameter `{0}` is in no parameter group of the case")]
    Ungrouped(String),
    #[error("`{name}` has the shape {expected:?} in the network and {found:?} in the trace")]
    Shape {
        name: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error("`{name}` has {expected} values in the trace and {found} here")]
    Length {
        name: String,
        expected: usize,
        found: usize,
    },
    #[error("layer `{0}` has an activation average in the trace and none here")]
    MissingEma(String),
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Optimizer(#[from] MacError),
    #[error("{} holds no case: no subfolder of it has a case.json", .0.display())]
    NoCase(PathBuf),
}
