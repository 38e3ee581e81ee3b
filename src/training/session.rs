use std::path::{Path, PathBuf};

use burn::module::{AutodiffModule, Module};
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{Record, Recorder, RecorderError};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use thiserror::Error;

use super::{Inner, Schedule, Task};
use crate::atomic_recorder::AtomicRecorder;

/// The file of a checkpoint in its folder.
const FILE: &str = "checkpoint";

/// The options of the run alone, which can be read without knowing its network and its optimizer.
const OPTIONS_FILE: &str = "options";

/// A run of an optimizer on a task.
pub struct Session<'a, B: AutodiffBackend, T: Task<B>, O: Optimizer<T::Model, B>> {
    /// The task.
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
    /// There is nothing to continue.
    #[error("there is no checkpoint in {folder}: run without --resume first")]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("checkpoint: {0}")]
    File(#[from] RecorderError),
    /// The checkpoint is of a run with other options.
    #[error("the checkpoint in {folder} was made with {found}, and this run has {given}")]
    OtherOptions {
        /// The folder.
        folder: PathBuf,
        /// Options of the checkpoint that the run does not have.
        found: String,
        /// Options of the run that the checkpoint does not have.
        given: String,
    },
}

/// The contents of a file: the options of the run, the network, the optimizer and the number of steps taken.
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
        let found: String = load::<B, _>(folder, OPTIONS_FILE, &device)?;
        same_options(folder, found, options)?;
        let (found, model, optimizer, step): Stored<B, T, O> = load::<B, _>(folder, FILE, &device)?;
        same_options(folder, found, options)?;
        self.model = self.model.load_record(model);
        self.optimizer = self.optimizer.load_record(optimizer);
        self.step = step;
        Ok(self)
    }
}

fn load<B: AutodiffBackend, R: Record<B>>(
    folder: &Path,
    file: &str,
    device: &B::Device,
) -> Result<R, SessionError> {
    let loaded = Recorder::<B>::load(&AtomicRecorder, folder.join(file), device);
    loaded.map_err(|error| match error {
        RecorderError::FileNotFound(_) => SessionError::NoCheckpoint {
            folder: folder.to_path_buf(),
        },
        error => SessionError::File(error),
    })
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::Training;
    use burn::optim::{AdamW, AdamWConfig};
    use burn::tensor::TensorData;
    use mac_burn::{Mac, MacConfig};
    use mac_burn_models::{Mlp, MlpConfig};

    /// A task to make two outputs small, whose inputs depend on the step.
    pub(in crate::training) struct Small;

    impl Task<Training> for Small {
        type Model = Mlp<Training>;

        fn loss(&self, model: &Self::Model, step: usize) -> Tensor<Training, 1> {
            let values = (0..12)
                .map(|index| ((step * 12 + index) as f32).sin())
                .collect();
            let input = TensorData::new(values, [4, 3]);
            let input = Tensor::<Training, 2>::from_data(input, &Default::default());
            model.forward(input).square().mean()
        }

        fn validation_loss(&self, _model: &Inner<Self, Training>) -> f64 {
            0.0
        }
    }

    type Steps<'a> = Session<'a, Training, Small, Mac<Mlp<Training>, Training, AdamW>>;

    fn start(task: &Small) -> Steps<'_> {
        let skip = vec!["layers.1".to_string()];
        let mac = MacConfig::new()
            .with_tcov(2)
            .with_tinv(3)
            .with_skip_layers(skip);
        let mac = mac
            .init()
            .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.1);
        Session {
            task,
            model: MlpConfig::new(vec![3, 4, 2]).init(&Default::default()),
            optimizer: mac.expect("the factor is allowed"),
            schedule: Schedule {
                lr: 0.1,
                warmup: 2,
                warmup_start: 0.0,
                steps: 8,
                whole_cosine: false,
            },
            step: 0,
        }
    }

    fn take(mut session: Steps<'_>, steps: usize) -> Steps<'_> {
        for _ in 0..steps {
            session = session.advance().0;
        }
        session
    }

    fn weights(session: &Steps<'_>) -> Vec<TensorData> {
        let layers = session.model.layers.iter();
        layers.map(|layer| layer.weight.to_data()).collect()
    }

    /// Breaks when a checkpoint lacks the network, a part of the optimizer's state, or the step.
    #[test]
    fn a_run_that_is_continued_is_the_run_that_was_not_interrupted() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let session = take(start(&Small), 3);
        session.save(folder.path(), "a").expect("it is stored");
        let expected = weights(&take(session, 5));

        // A new network has other values and other ids.
        let resumed = start(&Small).resume(folder.path(), "a");
        let resumed = resumed.expect("there is a checkpoint");
        assert_eq!(weights(&take(resumed, 5)), expected);
    }

    /// Also where the second of the two files of a checkpoint is missing, as after an end between them.
    #[test]
    fn a_missing_checkpoint_is_answered_with_what_to_do() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let said = || {
            let resumed = start(&Small).resume(folder.path(), "a");
            resumed.err().expect("there is no checkpoint").to_string()
        };
        let answer = format!(
            "there is no checkpoint in {}: run without --resume first",
            folder.path().display()
        );
        assert_eq!(said(), answer);

        start(&Small)
            .save(folder.path(), "a")
            .expect("it is stored");
        std::fs::remove_file(folder.path().join("checkpoint.mpk")).expect("it is there");
        assert_eq!(said(), answer);
    }

    #[test]
    fn a_broken_checkpoint_is_no_missing_one() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        std::fs::write(folder.path().join("options.mpk"), "text").expect("it can be written");
        let resumed = start(&Small).resume(folder.path(), "a");
        assert!(matches!(resumed, Err(SessionError::File(_))));
    }

    #[test]
    fn a_checkpoint_of_other_options_is_refused() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let session = start(&Small);
        session
            .save(folder.path(), "lr 1\nseed 2")
            .expect("it is stored");
        let resumed = start(&Small).resume(folder.path(), "lr 1\nseed 3");
        let error = resumed.err().expect("the seed is another").to_string();
        assert!(
            error.ends_with("was made with seed 2, and this run has seed 3"),
            "{error}"
        );
    }
}
