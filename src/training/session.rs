use std::path::{Path, PathBuf};

use burn::module::{AutodiffModule, Module};
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{Recorder, RecorderError};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use thiserror::Error;

use super::{Inner, Schedule, Task};
use crate::learner::AtomicRecorder;

/// The file of a checkpoint in its folder.
const FILE: &str = "checkpoint";

/// The options of the run alone, which can be read without knowing its network and its optimizer.
const OPTIONS_FILE: &str = "options";

/// A run of an optimizer on a task.
pub struct Session<'a, B: AutodiffBackend, T: Task<B>, O: Optimizer<T::Model, B>> {
    /// What is learnt.
    pub task: &'a T,
    /// The network as it is now.
    pub model: T::Model,
    /// The optimizer as it is now.
    pub optimizer: O,
    /// The learning rates.
    pub schedule: Schedule,
    /// The number of steps taken.
    pub step: usize,
}

/// Why a run cannot be stored or continued.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The file cannot be read or written.
    #[error("checkpoint: {0}")]
    File(#[from] RecorderError),
    /// The checkpoint is of a run with other options.
    #[error("the checkpoint in {folder} was made with {found}, and this run has {given}")]
    OtherOptions {
        /// The folder.
        folder: PathBuf,
        /// Those of its options that the run does not have.
        found: String,
        /// Those of the run that it does not have.
        given: String,
    },
}

/// What a file holds: the options of the run, the network, the optimizer and the number of steps taken.
type Stored<B, T, O> = (
    String,
    <<T as Task<B>>::Model as Module<B>>::Record,
    <O as Optimizer<<T as Task<B>>::Model, B>>::Record,
    usize,
);

impl<B, T, O> Session<'_, B, T, O>
where
    B: AutodiffBackend,
    T: Task<B>,
    O: Optimizer<T::Model, B>,
{
    /// Takes a step, and returns the loss before it, `[1]`, which is not waited for.
    pub fn advance(mut self) -> (Self, Tensor<B::InnerBackend, 1>) {
        let loss = self.task.loss(&self.model, self.step);
        let observed = loss.clone().inner();
        let grads = GradientsParams::from_grads(loss.backward(), &self.model);
        let lr = self.schedule.lr(self.step);
        self.model = self.optimizer.step(lr, self.model, grads);
        self.step += 1;
        (self, observed)
    }

    /// The loss on what is not trained on, in nats.
    pub fn validation_loss(&self) -> f64 {
        let model: Inner<T, B> = self.model.valid();
        self.task.validation_loss(&model)
    }

    /// Stores all that the next step depends on in a folder, whole or not at all. `options`, one a line, are what
    /// a run that continues has to have in common with this one.
    ///
    /// # Errors
    /// If a file cannot be written; the old checkpoint is left then.
    pub fn save(&self, folder: &Path, options: &str) -> Result<(), SessionError> {
        let stored: Stored<B, T, O> = (
            options.to_string(),
            self.model.clone().into_record(),
            self.optimizer.to_record(),
            self.step,
        );
        let recorder = &AtomicRecorder;
        Recorder::<B>::record(recorder, options.to_string(), folder.join(OPTIONS_FILE))?;
        Recorder::<B>::record(recorder, stored, folder.join(FILE))?;
        Ok(())
    }

    /// Continues where the run stored in a folder was.
    ///
    /// # Errors
    /// If there is no checkpoint, or it is not one of a run with these options.
    pub fn resume(mut self, folder: &Path, options: &str) -> Result<Self, SessionError> {
        let device = self.model.devices()[0].clone();
        let recorder = &AtomicRecorder;
        let found: String = Recorder::<B>::load(recorder, folder.join(OPTIONS_FILE), &device)?;
        same_options(folder, found, options)?;
        let (found, model, optimizer, step): Stored<B, T, O> =
            Recorder::<B>::load(recorder, folder.join(FILE), &device)?;
        same_options(folder, found, options)?;
        self.model = self.model.load_record(model);
        self.optimizer = self.optimizer.load_record(optimizer);
        self.step = step;
        Ok(self)
    }
}

fn same_options(folder: &Path, found: String, given: &str) -> Result<(), SessionError> {
    if found == given {
        return Ok(());
    }
    Err(SessionError::OtherOptions {
        folder: folder.to_path_buf(),
        found: lines_without(&found, given),
        given: lines_without(given, &found),
    })
}

fn lines_without(text: &str, other: &str) -> String {
    let lines = text.lines();
    let lines = lines.filter(|line| !other.lines().any(|known| known == *line));
    lines.collect::<Vec<_>>().join(", ")
}
