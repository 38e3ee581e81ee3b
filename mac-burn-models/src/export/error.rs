use std::error::Error;
use std::path::PathBuf;

use burn::tensor::DType;

/// Why weights were not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A file that cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A parameter of a type for which safetensors has none, as a quantized one.
    #[error("`{name}` has the type {dtype:?}, and not a floating-point type of safetensors")]
    UnknownType {
        /// PyTorch's name of the parameter.
        name: String,
        /// The type that it has.
        dtype: DType,
    },
    /// Two parameters with the same name, so that the function that names them is of another network.
    #[error("two parameters have the name `{name}`")]
    SameName {
        /// The name.
        name: String,
    },
}
