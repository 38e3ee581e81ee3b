//! A run that is interrupted, for the tests of examples that resume one.

use std::fs;
use std::path::Path;

use mac_burn_vision::learner::checkpoint;
use tempfile::TempDir;

/// The artifacts of a run that is interrupted after its first epoch.
pub(crate) fn interrupted(whole: &Path) -> TempDir {
    let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
    fs::create_dir(artifacts.path().join("checkpoint")).expect("it is not there yet");
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to).expect("the run has left it");
    };
    copy(
        &whole.join("config.json"),
        &artifacts.path().join("config.json"),
    );
    for part in ["model", "optim", "scheduler"] {
        copy(
            &checkpoint(whole, part, 1),
            &checkpoint(artifacts.path(), part, 1),
        );
    }
    artifacts
}

/// The model's checkpoint of an epoch.
pub(crate) fn parameters(artifacts: &Path, epoch: usize) -> Vec<u8> {
    fs::read(checkpoint(artifacts, "model", epoch)).expect("each epoch has a checkpoint")
}
