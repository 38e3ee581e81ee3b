//! The files of a folder of fixtures.

use std::path::{Path, PathBuf};

use mac_burn_tests::files::{list, read_json};
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
        Ok(read_json(path)?)
    }
}

/// The files of a folder that may hold fixtures, sorted.
pub(crate) fn fixture_files(folder: &Path) -> Result<Vec<PathBuf>, ParityError> {
    let files = list(folder, |path| {
        path.extension().is_some_and(|is| is == "json")
    })?;
    match files.is_empty() {
        true => Err(ParityError::NoFixture(folder.to_owned())),
        false => Ok(files),
    }
}
