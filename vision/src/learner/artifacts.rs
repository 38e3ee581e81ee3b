//! The directory of a run.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::differences::differences;
use super::whole_checkpoints;
use burn::config::{Config, config_to_json};
use serde_json::Value;

/// A directory that holds, or is to hold, the artifacts of a run, with the configuration of the run in a file.
pub struct Artifacts<C> {
    directory: PathBuf,
    config: C,
    epochs: usize,
}

impl<C: Config> Artifacts<C> {
    /// Of a run that `config` describes: everything that decides the parameters at its end. It has `epochs` epochs.
    pub fn new(directory: &Path, config: C, epochs: usize) -> Self {
        Self {
            directory: directory.to_path_buf(),
            config,
            epochs,
        }
    }

    /// Checks, and changes nothing, that a run can begin or continue here.
    ///
    /// # Errors
    /// If a run is to begin and there is one already; if one is to continue, and it is not here, its options were others, or
    /// the checkpoint is missing.
    pub fn check(&self, resume: Option<usize>) -> Result<(), String> {
        match resume {
            None => self.check_vacant(),
            Some(epoch) => {
                self.check_config()?;
                self.check_checkpoint(epoch)
            }
        }
    }

    /// Writes the configuration, by which [`check`](Self::check) knows the run.
    ///
    /// # Errors
    /// If the directory cannot be written to.
    pub fn write(&self) -> Result<(), String> {
        fs::create_dir_all(&self.directory)
            .and_then(|()| self.config.save(self.config_file()))
            .map_err(|error| format!("{} cannot be written to: {error}", self.name()))
    }

    fn check_vacant(&self) -> Result<(), String> {
        if !self.config_file().exists() {
            return Ok(());
        }
        Err(format!(
            "{} holds a run already, with {}; continue it with --resume, or choose another directory with --artifacts",
            self.name(),
            self.checkpoints()
        ))
    }

    fn check_config(&self) -> Result<(), String> {
        let saved = fs::read_to_string(self.config_file()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{} holds no run to continue", self.name()),
            _ => format!("{} cannot be read: {error}", self.config_file().display()),
        })?;
        let saved = self.parsed(&saved)?;
        // Not the configuration itself, whose numbers of single precision would be others as values than as text.
        let current = self.parsed(&config_to_json(&self.config))?;
        match differences(&saved, &current) {
            None => Ok(()),
            Some(lines) => Err(format!(
                "the run in {} can be continued only with the options that it was begun with:{lines}",
                self.name()
            )),
        }
    }

    fn parsed(&self, json: &str) -> Result<Value, String> {
        let file = self.config_file();
        serde_json::from_str(json)
            .map_err(|error| format!("{} is no configuration: {error}", file.display()))
    }

    fn check_checkpoint(&self, epoch: usize) -> Result<(), String> {
        if !whole_checkpoints(&self.directory).contains(&epoch) {
            return Err(format!(
                "there is no checkpoint of epoch {epoch}: {} has {}",
                self.name(),
                self.checkpoints()
            ));
        }
        if epoch >= self.epochs {
            return Err(format!(
                "nothing is left to train: the run has {} epochs",
                self.epochs
            ));
        }
        Ok(())
    }

    fn checkpoints(&self) -> String {
        match whole_checkpoints(&self.directory).as_slice() {
            [] => "no checkpoint".to_string(),
            [epoch] => format!("a checkpoint of epoch {epoch}"),
            epochs => {
                let epochs: Vec<_> = epochs.iter().map(usize::to_string).collect();
                format!("checkpoints of epochs {}", epochs.join(", "))
            }
        }
    }

    fn config_file(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    fn name(&self) -> impl Display {
        self.directory.display()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::{Course, checkpoint};
    use tempfile::TempDir;

    const EPOCHS: usize = 3;

    fn config() -> Course {
        Course::new().with_epochs(EPOCHS)
    }

    /// A directory with a run that has checkpoints of two epochs.
    fn begun() -> (TempDir, Artifacts<Course>) {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let artifacts = Artifacts::new(directory.path(), config(), EPOCHS);
        artifacts.write().expect("the directory can be written to");
        fs::create_dir(directory.path().join("checkpoint")).expect("it is not there yet");
        for epoch in [2, 3] {
            for part in ["model", "optim", "scheduler"] {
                fs::write(checkpoint(directory.path(), part, epoch), "")
                    .expect("the directory can be written to");
            }
        }
        (directory, artifacts)
    }

    fn complaint(result: Result<(), String>) -> String {
        result.expect_err("the check finds what is wrong")
    }

    #[test]
    fn a_run_begins_where_there_is_none_and_continues_where_there_is_one() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let vacant = Artifacts::new(&directory.path().join("new"), config(), EPOCHS);
        assert_eq!(vacant.check(None), Ok(()));
        assert!(complaint(vacant.check(Some(2))).ends_with("new holds no run to continue"));

        let (_directory, artifacts) = begun();
        assert_eq!(artifacts.check(Some(2)), Ok(()));
        assert!(complaint(artifacts.check(None)).contains(
            "holds a run already, with checkpoints of epochs 2, 3; continue it with --resume"
        ));
    }

    #[test]
    fn a_missing_checkpoint_is_answered_with_those_that_there_are() {
        let (directory, artifacts) = begun();
        assert!(complaint(artifacts.check(Some(1))).contains("has checkpoints of epochs 2, 3"));
        assert_eq!(
            complaint(artifacts.check(Some(3))),
            "nothing is left to train: the run has 3 epochs"
        );

        fs::remove_file(checkpoint(directory.path(), "optim", 3)).expect("the file is there");
        let message = complaint(artifacts.check(Some(3)));
        assert!(message.contains("has a checkpoint of epoch 2"), "{message}");
    }

    #[test]
    fn other_options_are_named() {
        let (directory, _) = begun();
        let other = Artifacts::new(directory.path(), config().with_lr(0.25), EPOCHS);

        let message = complaint(other.check(Some(2)));

        assert!(
            message.ends_with("begun with:\n  lr: 0.1, not 0.25"),
            "{message}"
        );
    }

    #[test]
    fn a_file_that_holds_no_configuration_is_named() {
        let (directory, artifacts) = begun();
        fs::write(directory.path().join("config.json"), "{").expect("it can be written");
        let message = complaint(artifacts.check(Some(2)));
        assert!(
            message.contains("config.json is no configuration: "),
            "{message}"
        );
    }
}
