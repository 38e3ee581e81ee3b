//! A process for each backend.
//!
//! Burn has one default float type for a device and a process, which `NdArray<f32>` and
//! `NdArray<f64>` would share; and a driver that ends a process must not end the test.

use crate::contender::{Answer, CONTENDERS, Contender, ORACLE};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

/// Names the backend that a process is to run.
const BACKEND: &str = "MAC_BACKENDS_RUN";

/// Names the file that the process answers in.
const ANSWER: &str = "MAC_BACKENDS_ANSWER";

/// What came of a backend.
pub(crate) enum Outcome {
    Answered(Box<Answer>),
    /// There is no device; the reason.
    Skipped(String),
    /// What is wrong with its answer, how it ended, and what it wrote as errors.
    Failed(String),
}

/// Where drivers of Vulkan are looked for, by the names that the loader has had for it.
const DRIVERS: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Runs a backend in a new process.
pub(crate) fn ask(contender: &Contender) -> Outcome {
    run(contender, &[])
}

/// The same where no driver of Vulkan is found.
pub(crate) fn ask_without_vulkan(contender: &Contender) -> Outcome {
    run(contender, &DRIVERS)
}

fn run(contender: &Contender, without: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("answer.json");
    let output = Command::new(env::current_exe().expect("the test runs from a file"))
        .env(BACKEND, contender.name)
        .env(ANSWER, &file)
        .envs(without.iter().map(|name| (name, "/dev/null")))
        .output()
        .expect("this executable can be run again");
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = |wrong: String| Outcome::Failed(format!("{wrong}, {}: {said}", output.status));
    if let Ok(reason) = fs::read_to_string(file.with_extension("skipped")) {
        // A missing device is told in one sentence, without a trace of a panic beside it.
        return match said.contains("panicked") {
            true => failed(format!("it panicked and said {reason:?}")),
            false => Outcome::Skipped(reason),
        };
    }
    let answer = fs::read(&file).map_err(|error| format!("no answer ({error})"));
    let answer = answer.and_then(|text| {
        serde_json::from_slice(&text).map_err(|error| format!("an answer that is none ({error})"))
    });
    match answer {
        Ok(answer) if output.status.success() => Outcome::Answered(Box::new(answer)),
        Ok(_) => failed("an answer".into()),
        Err(wrong) => failed(wrong),
    }
}

/// In a process that was started for a backend, runs it.
pub(crate) fn answer_if_asked() -> Option<ExitCode> {
    let name = env::var(BACKEND).ok()?;
    let file = env::var_os(ANSWER)?;
    let file = Path::new(&file);
    let contender = [&ORACLE].into_iter().chain(CONTENDERS);
    let contender = contender
        .into_iter()
        .find(|contender| contender.name == name)
        .expect("the parent runs what is compiled in");
    match (contender.probe)() {
        Err(missing) => {
            let reason = missing.to_string();
            fs::write(file.with_extension("skipped"), reason).expect("the folder is there");
        }
        Ok(()) => {
            let answer = contender.answer();
            let text = serde_json::to_vec(&answer).expect("an answer can be written");
            fs::write(file, text).expect("the folder is there");
        }
    }
    Some(ExitCode::SUCCESS)
}
