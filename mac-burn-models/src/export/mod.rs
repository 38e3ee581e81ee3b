//! The networks' weights as PyTorch stores them (feature `export`).
//!
//! ```no_run
//! use burn::tensor::backend::Backend;
//! use mac_burn_models::{Gpt, export, gpt};
//!
//! fn store<B: Backend>(network: &Gpt<B>) -> Result<(), export::ExportError> {
//!     export::save(network, "gpt.safetensors", gpt::authors_name)
//! }
//! ```
//!
//! and in Python
//!
//! ```python
//! model.load_state_dict(safetensors.torch.load_file("gpt.safetensors"))
//! ```
//!
//! Names, shapes and layout are those of PyTorch's `state_dict`, values have the network's own type. What PyTorch lists
//! twice is twice in the file: the table of GPT's tokens is also `lm_head.weight`, and under the authors' names the
//! `deit.patch_embed` of DeiT is also `patch_embed`. Buffers that PyTorch makes of shapes or counts are not in it;
//! `load_state_dict` misses only the masks of nanoGPT without fused attention, and takes `strict=False` for these.

mod collector;

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::DType;
use burn::tensor::backend::Backend;

use self::collector::{Collector, Exported};
use crate::pytorch::conventions::copy_of;
use crate::pytorch::{Name, settle};

/// Why weights were not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A file that cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
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

/// Stores the weights of a module in a `.safetensors` file for PyTorch.
///
/// `name` gives PyTorch's name to the parameter at a path, such as [`vision_transformer::timm_name`](crate::vision_transformer::timm_name). The
/// file is written next to its place with `.unfinished` added to its name, and renamed; a file of this name is
/// replaced, and left as it is if there is an error. The values of one tensor at a time are on the host.
///
/// # Errors
///
/// If the file cannot be written, a parameter has a type that safetensors does not know, or two have the same name.
pub fn save<B: Backend, M: Module<B>>(
    module: &M,
    path: impl AsRef<Path>,
    name: Name,
) -> Result<(), ExportError> {
    let path = path.as_ref();
    settle(module);
    let mut tensors = Collector::of(module, name)?;
    check_names(&tensors)?;
    add_copies(&mut tensors);
    let unfinished = path.with_added_extension("unfinished");
    let written = write(tensors, &unfinished, path);
    if written.is_err() {
        // What is left of it is of no use; that it cannot be removed says nothing new.
        let _ = fs::remove_file(&unfinished);
    }

    written.map_err(|source| ExportError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The tensors by their names, in the order of the module.
type Tensors = Vec<(String, Exported)>;

fn check_names(tensors: &[(String, Exported)]) -> Result<(), ExportError> {
    let mut names = BTreeSet::new();
    for (name, _) in tensors {
        if !names.insert(name) {
            return Err(ExportError::SameName { name: name.clone() });
        }
    }

    Ok(())
}

/// Lists the tensors a second time that PyTorch lists twice, unless the module has one of that name itself.
fn add_copies(tensors: &mut Tensors) {
    let copies: Tensors = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((copy_of(name)?.to_owned(), tensor.clone())))
        .filter(|(copy, _)| tensors.iter().all(|(name, _)| name != copy))
        .collect();
    tensors.extend(copies);
}

fn write(
    tensors: Tensors,
    unfinished: &Path,
    path: &Path,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Some readers want to be told of which framework the layout is.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(metadata), unfinished)?;
    // Some systems want a file to be writable for this.
    let file = OpenOptions::new().write(true).open(unfinished)?;
    file.sync_all()?;
    drop(file);

    Ok(fs::rename(unfinished, path)?)
}
