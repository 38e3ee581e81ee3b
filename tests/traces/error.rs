//! What can be wrong with a case before a number of it is compared.

use std::path::PathBuf;

use mac_burn::MacError;
use safetensors::{Dtype, SafeTensorError};

/// A case that cannot be read or built; never a difference in numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("{}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {source}", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
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
