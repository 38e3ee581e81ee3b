use std::error::Error;
use std::path::PathBuf;

use super::Mismatch;

/// Why weights were not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file whose name does not tell how it is to be read.
    #[error(
        "{}: weights are in files that end in .safetensors, or in .pth, .pt, .bin, .ckpt or .tar",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A file that cannot be read, or is not what its name says.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Two parameters with the same name, so that the function that names them is of another network.
    #[error("two parameters of the network have the name `{name}`")]
    SameName {
        /// The name.
        name: String,
    },
    /// A tensor whose values PyTorch did not store in the order of its indices, such as a kernel in `channels_last`.
    #[error(
        "{}: `{name}` is not contiguous, and would be read in the wrong order: store its `contiguous()`, or safetensors",
        path.display()
    )]
    Strided {
        /// The file.
        path: PathBuf,
        /// The name of the tensor in the network.
        name: String,
    },
    /// A file with the tensors of another network.
    #[error("{} has the weights of another network: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All tensors that are not what they should be.
        mismatch: Box<Mismatch>,
    },
}
