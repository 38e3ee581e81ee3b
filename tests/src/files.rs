//! Files of fixtures.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

/// A file or a folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// Reads a file.
///
/// # Errors
/// If that is not possible.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(at(path))
}

/// Reads a value from a file of JSON.
///
/// # Errors
/// If that is not possible, or the file has no such value.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = read(path)?;
    serde_json::from_slice(&text).map_err(|error| at(path)(error.into()))
}

/// The wanted files and folders of a folder, sorted.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<_> = paths.collect::<Result<_, _>>().map_err(at(folder))?;
    let mut wanted: Vec<_> = paths.into_iter().filter(|path| wanted(path)).collect();
    wanted.sort();

    Ok(wanted)
}

/// The folder itself, or the one of this path in the workspace: Cargo runs a test in the folder of its package.
pub fn found(folder: &Path) -> PathBuf {
    match folder.exists() {
        true => folder.to_owned(),
        false => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(folder),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> FileError {
    move |source| FileError {
        path: path.to_owned(),
        source,
    }
}
