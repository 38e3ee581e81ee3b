//! A second process for the replays in `f64`.
//!
//! Burn has one float type for each kind of device and process, and makes tensors of that type inside
//! operations such as `pad`. `NdArray<f32>` and `NdArray<f64>` share their kind of device, so
//! only one of them computes in its own type in a process.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::suite::Suite;

/// Tells the second process that it is one, and where its answer goes.
const ANSWER: &str = "MAC_TRACES_ANSWER";

/// The second process, seen from the first.
pub(crate) struct DoubleProcess {
    child: Child,
    folder: TempDir,
}

/// The second process, seen from itself.
pub(crate) struct Answer(PathBuf);

impl DoubleProcess {
    /// Starts a test of this executable again; it runs while the first process goes on.
    pub(crate) fn start(test: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let executable = env::current_exe().expect("the test runs from a file");
        let child = Command::new(executable)
            .args(["--exact", test])
            .env(ANSWER, folder.path().join("suite.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this executable can be run again");

        Self { child, folder }
    }

    /// Waits for the process, and takes its answer.
    pub(crate) fn suite(self) -> Suite {
        let output = self
            .child
            .wait_with_output()
            .expect("the process was started");
        assert!(
            output.status.success(),
            "the process for f64 failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let answer = fs::read(self.folder.path().join("suite.json")).expect("it has answered");

        serde_json::from_slice(&answer).expect("its answer is a suite")
    }
}

impl Answer {
    /// In the second process, what the first waits for.
    pub(crate) fn awaited() -> Option<Self> {
        env::var_os(ANSWER).map(|path| Self(path.into()))
    }

    /// Answers the first process.
    pub(crate) fn give(&self, suite: &Suite) {
        let text = serde_json::to_vec(suite).expect("a suite can be written");
        fs::write(&self.0, text).expect("the first process keeps the folder");
    }
}
