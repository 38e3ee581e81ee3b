//! Answers of this executable in a process of its own, for what a process has only one of: Burn's default float type of a
//! kind of device, and drivers that may end it.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;

/// Names the file that a process answers in.
const ANSWER: &str = "MAC_TESTS_ANSWER";

/// A process that is to answer.
pub struct Process {
    child: Child,
    folder: TempDir,
}

/// An answer, and what the process wrote as errors.
pub struct Answered<A> {
    /// The answer.
    pub answer: A,
    /// The errors.
    pub errors: String,
}

/// The end of a process without an answer, and what it wrote as errors.
#[derive(Debug, thiserror::Error)]
#[error("{reason}, {status}: {errors}")]
pub struct NoAnswer {
    reason: String,
    status: ExitStatus,
    errors: String,
}

/// The command that runs this executable.
///
/// # Panics
/// If it has no path.
pub fn this_executable() -> Command {
    Command::new(env::current_exe().expect("a test has an executable"))
}

impl Process {
    /// Starts a command that [gives](Asked::give) an answer; it runs while this process goes on.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let child = command
            .env(ANSWER, folder.path().join("answer.json"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this executable can be run again");

        Self { child, folder }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// If there is none, or the process failed.
    ///
    /// # Panics
    /// If the process cannot be waited for.
    pub fn answer<A: DeserializeOwned>(self) -> Result<Answered<A>, NoAnswer> {
        let output = self.child.wait_with_output();
        let output = output.expect("the process was started");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = match fs::read(self.folder.path().join("answer.json")) {
            Err(error) => Err(format!("no answer ({error})")),
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| format!("an answer that is none ({error})")),
        };

        match answer {
            Ok(answer) if output.status.success() => Ok(Answered { answer, errors }),
            answer => Err(NoAnswer {
                reason: answer.err().unwrap_or_else(|| "an answer".to_owned()),
                status: output.status,
                errors,
            }),
        }
    }
}

/// The purpose of a started process.
pub struct Asked(PathBuf);

impl Asked {
    /// In a process that was started for an answer, the question.
    pub fn here() -> Option<Self> {
        env::var_os(ANSWER).map(|path| Self(path.into()))
    }

    /// Answers.
    ///
    /// # Panics
    /// If the answer cannot be written.
    pub fn give(&self, answer: &impl Serialize) {
        let text = serde_json::to_vec(answer).expect("an answer can be written");
        fs::write(&self.0, text).expect("the process that asked keeps the folder");
    }
}
