//! Where burn-train puts its checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use burn::record::FileRecorder;

use mac_burn_examples::atomic_recorder::AtomicRecorder;
use mac_burn_examples::backend::Selected;

/// The parts of a checkpoint, each of which is a file.
const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// The file of one part (`model`, `optim` or `scheduler`) of the checkpoint after `epoch`.
pub fn checkpoint(artifacts: &Path, part: &str, epoch: usize) -> PathBuf {
    let extension = <AtomicRecorder as FileRecorder<Selected>>::file_extension();
    artifacts
        .join("checkpoint")
        .join(format!("{part}-{epoch}.{extension}"))
}

/// The epochs of which `artifacts` holds every part of the checkpoint, in order.
///
/// The three files of a checkpoint are written one after the other; a run that ended in between left some.
pub fn whole_checkpoints(artifacts: &Path) -> Vec<usize> {
    let Ok(entries) = fs::read_dir(artifacts.join("checkpoint")) else {
        return Vec::new();
    };
    let mut epochs: Vec<usize> = entries
        .flatten()
        .filter_map(|entry| epoch_of_model(&entry.path()))
        .filter(|epoch| {
            PARTS
                .iter()
                .all(|part| checkpoint(artifacts, part, *epoch).is_file())
        })
        .collect();
    epochs.sort_unstable();
    epochs
}

fn epoch_of_model(file: &Path) -> Option<usize> {
    let name = file.file_stem()?.to_str()?;
    name.strip_prefix("model-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_which_a_part_is_missing_does_not_count() {
        let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
        assert!(whole_checkpoints(artifacts.path()).is_empty());
        fs::create_dir(artifacts.path().join("checkpoint")).expect("it is not there yet");
        for (epoch, parts) in [(10, &PARTS[..]), (2, &PARTS[..]), (11, &PARTS[..2])] {
            for part in parts {
                fs::write(checkpoint(artifacts.path(), part, epoch), "")
                    .expect("the directory can be written to");
            }
        }

        assert_eq!(whole_checkpoints(artifacts.path()), [2, 10]);
    }
}
