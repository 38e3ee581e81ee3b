use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use burn_store::{ModuleStore, SafetensorsStore, TensorSnapshot};

use super::ImportError;
use super::parameters::Expected;
use crate::pytorch::conventions::{copy_of, current_name};

/// Names that the weights of a network are put under: by training scripts, by data parallelism and by compilation.
const WRAPPERS: [&str; 6] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "module",
    "_orig_mod",
];

type Tensors = BTreeMap<String, TensorSnapshot>;

/// The tensors of a file by their names. Their values are read when they are asked for.
pub(super) struct Checkpoint {
    path: PathBuf,
    tensors: Tensors,
    /// The names of those whose values are stored in another order than that of their indices.
    strided: BTreeSet<String>,
}

impl Checkpoint {
    /// Opens a file, which its extension tells how to read.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let path = path.to_owned();
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let tensors = match extension.to_str() {
            Some("safetensors") => safetensors(&path).map(|tensors| (tensors, BTreeSet::new())),
            Some("pth" | "pt" | "bin" | "ckpt" | "tar") => pickled(&path),
            _ => return Err(ImportError::UnknownFormat { path }),
        };

        match tensors {
            Ok((tensors, strided)) => Ok(Self {
                path,
                tensors: tensors
                    .into_iter()
                    .map(|(name, tensor)| (current_name(name), tensor))
                    .collect(),
                strided: strided.into_iter().map(current_name).collect(),
            }),
            Err(source) => Err(ImportError::Read { path, source }),
        }
    }

    /// The part that has the weights of a network, if they are not the whole; the outermost if there are several.
    pub(super) fn unwrapped(self, expected: &[Expected]) -> Self {
        let expected: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
        let wrappings = self.tensors.keys();
        let wrappings = wrappings.filter_map(|name| wrapping(name, &expected));
        match wrappings.min_by_key(|wrapping| wrapping.len()) {
            Some(outermost) => self.below(outermost),
            None => self,
        }
    }

    /// The part of this name.
    pub(super) fn part(self, part: &str) -> Result<Self, ImportError> {
        let below = self.below(&format!("{part}."));
        match below.tensors.is_empty() {
            false => Ok(below),
            true => Err(ImportError::MissingPart {
                part: part.to_owned(),
                found: self.parts(),
                path: self.path,
            }),
        }
    }

    /// The parts at the top of the file that have tensors, sorted.
    fn parts(&self) -> Vec<String> {
        let parts = self.names().filter_map(|name| name.split_once('.'));
        let parts: BTreeSet<&str> = parts.map(|(part, _)| part).collect();
        parts.into_iter().map(str::to_owned).collect()
    }

    /// The tensors whose names begin with a prefix, by the rest of their names.
    fn below(&self, prefix: &str) -> Self {
        let rest = |name: &String| name.strip_prefix(prefix).map(str::to_owned);
        let tensors = self.tensors.iter();
        let tensors = tensors.filter_map(|(name, tensor)| Some((rest(name)?, tensor.clone())));

        Self {
            tensors: tensors.collect(),
            strided: self.strided.iter().filter_map(rest).collect(),
            path: self.path.clone(),
        }
    }

    /// Refuses a tensor of the network whose values would be read in another order than that of its indices.
    pub(super) fn check_order(&self, expected: &[Expected]) -> Result<(), ImportError> {
        let is_wrong = |name: &str| match self.tensors.contains_key(name) {
            true => self.strided.contains(name),
            false => copy_of(name).is_some_and(|copy| self.strided.contains(copy)),
        };
        match expected.iter().find(|tensor| is_wrong(&tensor.name)) {
            None => Ok(()),
            Some(tensor) => Err(ImportError::Strided {
                path: self.path.clone(),
                name: tensor.name.clone(),
            }),
        }
    }

    /// The names of the tensors, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor of a name; the copy that is tied to it if that is all there is.
    pub(super) fn tensor(&self, name: &str) -> Option<&TensorSnapshot> {
        self.tensors
            .get(name)
            .or_else(|| self.tensors.get(copy_of(name)?))
    }

    /// The values of a tensor of this file.
    pub(super) fn values(&self, tensor: &TensorSnapshot) -> Result<TensorData, ImportError> {
        tensor.to_data().map_err(|error| ImportError::Read {
            path: self.path.clone(),
            source: error.into(),
        })
    }
}

/// The wrapping of an expected tensor: the part of a name before the tensor's own, with its dots; none if that is no wrapping.
fn wrapping<'a>(name: &'a str, expected: &BTreeSet<&str>) -> Option<&'a str> {
    let mut rest = name;
    while !expected.contains(rest) {
        let (first, inner) = rest.split_once('.')?;
        if !WRAPPERS.contains(&first) {
            return None;
        }
        rest = inner;
    }

    name.strip_suffix(rest)
}

fn safetensors(path: &Path) -> Result<Tensors, Box<dyn Error + Send + Sync>> {
    let mut store = SafetensorsStore::from_file(path);

    Ok(store.get_all_snapshots()?.clone())
}

/// The tensors, and the names of those whose values are stored in another order than that of their indices.
type Pickled = Result<(Tensors, BTreeSet<String>), Box<dyn Error + Send + Sync>>;

#[cfg(feature = "pth")]
fn pickled(path: &Path) -> Pickled {
    // PyTorch's formats before version 1.6 are no archives, and have no checksums.
    let archive = burn_store::pytorch::lazy_data::ZipSource::new(path.to_owned()).ok();
    if let Some(archive) = &archive {
        check_storages(archive)?;
    }
    let reader = burn_store::pytorch::PytorchReader::new(path)?;
    let tensors = reader.into_tensors().into_iter().collect();
    let strided = archive.as_ref().map(super::strides::strided).transpose()?;

    Ok((tensors, strided.unwrap_or_default()))
}

/// Reads the storages of an archive with their checksums: Burn's reader takes one that it cannot read for zeros.
#[cfg(feature = "pth")]
fn check_storages(archive: &burn_store::pytorch::lazy_data::ZipSource) -> std::io::Result<()> {
    for storage in archive.data_files() {
        archive.read_file(&storage)?;
    }

    Ok(())
}

#[cfg(not(feature = "pth"))]
fn pickled(_path: &Path) -> Pickled {
    Err("files of torch.save need the feature `pth` of mac-burn-models".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when the weights of another part than the network's are taken, or a name of the network's own that is
    /// also one of a wrapping is cut off.
    #[test]
    fn a_wrapping_is_made_of_wrappers_alone() {
        let expected = BTreeSet::from(["head.weight", "model.0.weight"]);
        let wrapping = |name| wrapping(name, &expected);

        assert_eq!(wrapping("head.weight"), Some(""));
        assert_eq!(wrapping("model.0.weight"), Some(""));
        assert_eq!(
            wrapping("model._orig_mod.head.weight"),
            Some("model._orig_mod.")
        );
        // The checkpoints of MAC's authors for CIFAR.
        assert_eq!(wrapping("net.module.head.weight"), Some("net.module."));
        assert_eq!(wrapping("teacher.head.weight"), None);
        assert_eq!(wrapping("model.tail.weight"), None);
    }
}
