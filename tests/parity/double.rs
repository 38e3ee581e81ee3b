//! Double precision, in a process of its own: Burn has one default float type for a kind of device and a process, and
//! here that of flex is single.

use std::{env, path::Path};

use burn::tensor::{FloatDType, IntDType, set_default_dtypes};
use mac_burn_tests::{Asked, Process, this_executable};

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

/// The result of a process, with errors in words.
type Answer = Result<Option<Differences>, String>;

/// Compares the fixture of a file in double precision, in a new process; none if no family covers it.
pub(crate) fn compare_in_double(path: &Path) -> Result<Option<Differences>, ParityError> {
    let mut command = this_executable();
    let command = command.args(["--exact", TEST, "--nocapture"]);
    let process = Process::start(command.env(FIXTURE, path));
    let answer: Answer = process.answer()?.answer;

    answer.map_err(ParityError::InDouble)
}

/// In a process that was started for a fixture, compares it and says that it did.
pub(crate) fn answered() -> bool {
    let (Some(fixture), Some(asked)) = (env::var_os(FIXTURE), Asked::here()) else {
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
    asked.give(&answer);

    true
}
