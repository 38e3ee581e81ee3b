use std::error::Error;
use std::path::{Path, PathBuf};

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
        /// The error of its reader.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A published checkpoint that is not known.
    #[error("no checkpoint `{name}` is known: those of this family are `{}`", known.join("`, `"))]
    UnknownCheckpoint {
        /// The name that was asked for.
        name: String,
        /// The names of the family's checkpoints.
        known: Vec<&'static str>,
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
    /// A file without the part that was asked for.
    #[error("{} has no part `{part}`: {}", path.display(), in_words(found))]
    MissingPart {
        /// The file.
        path: PathBuf,
        /// The name of the part.
        part: String,
        /// The names of the parts that the file has at its top; those of modules if it is a state and nothing else.
        found: Vec<String>,
    },
    /// A file, or a part of one, with the tensors of another network.
    #[error("{} has the weights of another network: {mismatch}", place(path, part.as_deref()))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The part of the file, if one was asked for.
        part: Option<String>,
        /// All tensors that are not what they should be.
        mismatch: Box<Mismatch>,
    },
}

fn place(path: &Path, part: Option<&str>) -> String {
    match part {
        Some(part) => format!("`{part}` of {}", path.display()),
        None => path.display().to_string(),
    }
}

fn in_words(parts: &[String]) -> String {
    match parts {
        [] => "it has none".to_owned(),
        _ => format!("it has `{}`", parts.join("`, `")),
    }
}
