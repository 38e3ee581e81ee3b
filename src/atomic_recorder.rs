//! A recorder for checkpoints.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::record::{
    FileRecorder, FullPrecisionSettings, NamedMpkBytesRecorder, Recorder, RecorderError,
};
use burn::tensor::backend::Backend;
use serde::Serialize;
use serde::de::DeserializeOwned;

const EXTENSION: &str = "mpk";

/// Stores a record in full precision, in a file that is there whole or not at all.
///
/// Burn's recorders delete a file before they write it anew, and do not report when its last bytes find no room. This one
/// writes a second file, waits until it is on the disk, and renames it, so that a run which ends at any moment leaves
/// the old content or the new. The format is that of Burn's `NamedMpkFileRecorder<FullPrecisionSettings>`, which reads
/// what this one wrote. Burn's `CompactRecorder` would take half the room and half the precision: a run cannot
/// continue exactly from rounded parameters.
#[derive(Clone, Debug, Default)]
pub struct AtomicRecorder;

type Bytes = NamedMpkBytesRecorder<FullPrecisionSettings>;

impl<B: Backend> FileRecorder<B> for AtomicRecorder {
    fn file_extension() -> &'static str {
        EXTENSION
    }
}

impl<B: Backend> Recorder<B> for AtomicRecorder {
    type Settings = FullPrecisionSettings;
    type RecordArgs = PathBuf;
    type RecordOutput = ();
    type LoadArgs = PathBuf;

    fn save_item<I: Serialize>(&self, item: I, mut file: PathBuf) -> Result<(), RecorderError> {
        let bytes = Recorder::<B>::save_item(&Bytes::default(), item, ())?;
        file.set_extension(EXTENSION);
        replace(&file, &bytes).map_err(|error| recorder_error(&file, error))
    }

    fn load_item<I: DeserializeOwned>(&self, file: &mut PathBuf) -> Result<I, RecorderError> {
        file.set_extension(EXTENSION);
        let mut bytes = fs::read(&file).map_err(|error| recorder_error(file, error))?;
        Recorder::<B>::load_item(&Bytes::default(), &mut bytes)
    }
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let unfinished = file.with_extension("unfinished");
    let mut output = File::create(&unfinished)?;
    output.write_all(bytes)?;
    output.sync_all()?;
    fs::rename(unfinished, file)
}

fn recorder_error(file: &Path, error: io::Error) -> RecorderError {
    let message = format!("{}: {error}", file.display());
    match error.kind() {
        io::ErrorKind::NotFound => RecorderError::FileNotFound(message),
        _ => RecorderError::Unknown(message),
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::record::NamedMpkFileRecorder;
    use burn::tensor::Tensor;

    use super::*;
    use crate::backend::Selected;

    type Parameter = Param<Tensor<Selected, 1>>;

    /// Neither is a half-precision number.
    const VALUES: [f32; 2] = [1.0 / 3.0, 1e-30];
    const NAME: &str = "model-1";

    fn parameter() -> Parameter {
        Param::from_tensor(Tensor::from_floats(VALUES, &Default::default()))
    }

    fn record(recorder: &impl FileRecorder<Selected>, directory: &Path) {
        recorder
            .record(parameter(), directory.join(NAME))
            .expect("the directory can be written to");
    }

    fn load(recorder: &impl FileRecorder<Selected>, directory: &Path) -> Vec<f32> {
        let parameter: Parameter = recorder
            .load(directory.join(NAME), &Default::default())
            .expect("the record was stored");
        parameter.val().into_data().iter().collect()
    }

    #[test]
    fn what_is_stored_is_loaded_bit_for_bit_and_by_burns_recorder_too() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");

        record(&AtomicRecorder, directory.path());

        assert_eq!(load(&AtomicRecorder, directory.path()), VALUES);
        let burns = NamedMpkFileRecorder::<FullPrecisionSettings>::default();
        assert_eq!(load(&burns, directory.path()), VALUES);
    }

    #[test]
    fn nothing_but_the_file_is_left_also_when_it_is_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");

        record(&AtomicRecorder, directory.path());
        record(&AtomicRecorder, directory.path());

        let files: Vec<_> = fs::read_dir(&directory)
            .expect("the directory exists")
            .map(|entry| entry.expect("the directory can be read").file_name())
            .collect();
        assert_eq!(files, ["model-1.mpk"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_content() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        record(&AtomicRecorder, directory.path());
        // A directory in the place of the second file: it cannot be written.
        fs::create_dir(directory.path().join("model-1.unfinished")).expect("it is not there yet");

        let result =
            Recorder::<Selected>::record(&AtomicRecorder, parameter(), directory.path().join(NAME));

        assert!(result.is_err());
        assert_eq!(load(&AtomicRecorder, directory.path()), VALUES);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Recorder::<Selected>::load::<Parameter>(
            &AtomicRecorder,
            PathBuf::from("nowhere/model-7"),
            &Default::default(),
        )
        .expect_err("there is no such file");

        assert!(
            matches!(&error, RecorderError::FileNotFound(message) if message.contains("nowhere/model-7.mpk")),
            "{error}"
        );
    }
}
