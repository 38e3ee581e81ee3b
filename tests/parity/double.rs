//! Double precision, in a process of its own: Burn has one default float type for a kind of device and a process, and
//! here that of flex is single.

use std::{env, fs, path::Path, process::Command};

use burn::tensor::{FloatDType, IntDType, set_default_dtypes};

use crate::{
    comparison::Precision,
    differences::Differences,
    error::ParityError,
    file::File,
    suite::{Training, caught, compare_on_flex},
};

/// The test that answers in a process that was started for it.
const TEST: &str = "the_networks_are_those_of_pytorch";

/// Names the fixture that a process is to compare.
const FIXTURE: &str = "MAC_PARITY_DOUBLE_FIXTURE";

/// Names the file that the process answers in.
const ANSWER: &str = "MAC_PARITY_DOUBLE_ANSWER";

/// The result of a process, with errors in words.
type Answer = Result<Option<Differences>, String>;

/// Compares the fixture of a file in double precision, in a new process; none if no family covers it.
pub(crate) fn compare_in_double(path: &Path) -> Result<Option<Differences>, ParityError> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("answer.json");
    let output = Command::new(env::current_exe().expect("a test has an executable"))
        .args(["--exact", TEST, "--nocapture"])
        .env(FIXTURE, path)
        .env(ANSWER, &file)
        .output()
        .expect("the executable can be started");
    let no_answer = |reason: String| {
        let said = String::from_utf8_lossy(&output.stderr);
        ParityError::NoAnswer(format!("{reason}, {}: {said}", output.status))
    };
    let answer = fs::read(&file).map_err(|error| no_answer(error.to_string()))?;
    let answer: Answer =
        serde_json::from_slice(&answer).map_err(|error| no_answer(error.to_string()))?;

    match output.status.success() {
        true => answer.map_err(ParityError::InDouble),
        false => Err(no_answer("it answered".to_owned())),
    }
}

/// In a process that was started for a fixture, compares it and says that it did.
pub(crate) fn answered() -> bool {
    let (Some(fixture), Some(file)) = (env::var_os(FIXTURE), env::var_os(ANSWER)) else {
        return false;
    };
    let types = (FloatDType::F64, IntDType::I32);
    let set = set_default_dtypes::<Training>(&Default::default(), types.0, types.1);
    set.expect("flex computes in both, and no tensor was made before");
    let result = caught(|| match File::read(Path::new(&fixture))? {
        File::Fixture(fixture) => compare_on_flex(&fixture, Precision::Double),
        File::Counts(_) => panic!("sizes have no precision"),
    });
    let answer: Answer = result.map_err(|error| error.to_string());
    let text = serde_json::to_vec(&answer).expect("an answer can be written");
    fs::write(file, text).expect("the folder is there");

    true
}
