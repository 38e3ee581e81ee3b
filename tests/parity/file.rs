//! The files of a folder of fixtures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{counts::Counts, error::ParityError, fixture::Fixture};

/// A file, by what it says that it is.
#[derive(Debug, Deserialize)]
#[serde(tag = "format")]
pub(crate) enum File {
    #[serde(rename = "mac-model-parity/1")]
    Fixture(Box<Fixture>),
    #[serde(rename = "mac-model-parity-counts/1")]
    Counts(Counts),
}

impl File {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ParityError> {
        let text = fs::read_to_string(path).map_err(|source| ParityError::Read {
            path: path.to_owned(),
            source,
        })?;

        serde_json::from_str(&text).map_err(|source| ParityError::Json {
            path: path.to_owned(),
            source,
        })
    }
}

/// The files of a folder that may hold fixtures, sorted.
pub(crate) fn fixture_files(folder: &Path) -> Result<Vec<PathBuf>, ParityError> {
    let read = |source| ParityError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(ParityError::NoFixture(folder.to_owned()));
    }

    Ok(files)
}
