use std::error::Error;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::{AutodiffModule, Module};
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{FileRecorder, Record, Recorder, RecorderError};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor};
use indicatif::ProgressBar;
use thiserror::Error;

use super::differences::differences;
use super::{Inner, ParameterAverage, Progress, Schedule, Task};
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
    /// The average of the network over the steps, if one is kept.
    pub average: Option<ParameterAverage<Inner<T, B>>>,
    /// The learning rates.
    pub schedule: Schedule,
    /// The number of steps taken.
    pub step: usize,
    /// The time of these steps, without that of validation.
    pub seconds: f64,
}

/// Why a run cannot be stored, begun or continued.
#[derive(Debug, Error)]
pub enum SessionError {
    /// There is nothing to continue.
    #[error("there is no checkpoint in {folder}: run without --resume first")]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
    },
    /// A run is to begin where there is one.
    #[error(
        "{folder} has the checkpoint of a run: continue it with --resume, or choose another folder with --artifacts"
    )]
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("checkpoint: {0}")]
    File(#[from] RecorderError),
    /// The checkpoint has options that are none.
    #[error("the checkpoint in {folder} has options that cannot be read: {source}")]
    Options {
        /// The folder.
        folder: PathBuf,
        /// The fault that was found.
        source: serde_json::Error,
    },
    /// The checkpoint is of a run with other options.
    #[error(
        "the run in {folder} can be continued only with the options that it was begun with:{lines}"
    )]
    OtherOptions {
        /// The folder.
        folder: PathBuf,
        /// The differences, a line each.
        lines: String,
    },
}

/// The contents of a file: the options of the run, the network, the optimizer, the average with the number of copies that are
/// still to come, the number of steps taken and their seconds.
type Stored<B, T, O> = (
    String,
    ModelRecord<B, T>,
    <O as Optimizer<<T as Task<B>>::Model, B>>::Record,
    Option<(ModelRecord<B, T>, usize)>,
    usize,
    f64,
);

/// A session after a step, and the loss before the step, `[1]`.
type Advanced<S, B> = (S, Tensor<<B as AutodiffBackend>::InnerBackend, 1>);

type ModelRecord<B, T> = <<T as Task<B>>::Model as Module<B>>::Record;

impl<'a, B, T, O> Session<'a, B, T, O>
where
    B: AutodiffBackend,
    T: Task<B>,
    O: Optimizer<T::Model, B>,
{
    /// A run before its first step.
    pub fn new(task: &'a T, model: T::Model, optimizer: O, schedule: Schedule) -> Self {
        Self {
            task,
            model,
            optimizer,
            average: None,
            schedule,
            step: 0,
            seconds: 0.0,
        }
    }

    /// Takes a step, and returns the loss before it, `[1]`, which is not waited for.
    ///
    /// # Errors
    /// The errors of the task.
    pub fn advance(mut self) -> Result<Advanced<Self, B>, Box<dyn Error>> {
        let loss = self.task.loss(&self.model, self.step)?;
        let observed = loss.clone().inner();
        let grads = GradientsParams::from_grads(loss.backward(), &self.model);
        let lr = self.schedule.lr(self.step);
        self.model = self.optimizer.step(lr, self.model, grads);
        if let Some(average) = &mut self.average {
            average.update::<B::InnerBackend>(&self.model.valid());
        }
        self.step += 1;
        Ok((self, observed))
    }

    /// The progress of the run, with a mean loss of its last steps.
    ///
    /// # Errors
    /// The errors of the task.
    pub fn progress(&self, train_loss: Option<f64>) -> Result<Progress, Box<dyn Error>> {
        let model: Inner<T, B> = self.model.valid();
        let validation = self.task.validate(&model)?;
        Ok(Progress::new(
            self.step,
            train_loss,
            validation,
            self.seconds,
        ))
    }

    /// Takes the steps that are left, and calls `observe` after every `every` of them and after the last.
    ///
    /// # Errors
    /// The errors of the task and of `observe`, which end the training.
    pub fn train(
        mut self,
        every: usize,
        bar: &ProgressBar,
        mut observe: impl FnMut(&Self, Progress) -> Result<(), Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let steps = self.schedule.steps;
        bar.set_length(steps as u64);
        bar.set_position(self.step as u64);
        let mut start = Instant::now();
        let mut losses: Vec<Tensor<B::InnerBackend, 1>> = Vec::new();
        while self.step < steps {
            let loss;
            (self, loss) = self.advance()?;
            losses.push(loss);
            bar.inc(1);
            if self.step.is_multiple_of(every) || self.step == steps {
                // Reading the losses waits for the steps.
                let train_loss = Tensor::cat(mem::take(&mut losses), 0).mean();
                let train_loss = train_loss.into_scalar().elem();
                self.seconds += start.elapsed().as_secs_f64();
                let progress = self.progress(Some(train_loss))?;
                observe(&self, progress)?;
                start = Instant::now();
            }
        }
        bar.finish_and_clear();
        Ok(self)
    }

    /// Stores all that the next step depends on in a folder, whole or not at all. `options`, as JSON, are what a run that
    /// continues has to have in common with this one.
    ///
    /// # Errors
    /// If a file cannot be written; the old checkpoint is left then.
    pub fn save(&self, folder: &Path, options: &str) -> Result<(), SessionError> {
        let average = self.average.as_ref().map(|average| {
            let module = T::Model::from_inner(average.module().clone());
            (module.into_record(), average.copies())
        });
        let stored: Stored<B, T, O> = (
            options.to_string(),
            self.model.clone().into_record(),
            self.optimizer.to_record(),
            average,
            self.step,
            self.seconds,
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
        // First, since what is stored by other options may be of another type.
        let found: String = load::<B, _>(folder, OPTIONS_FILE, &device)?;
        same_options(folder, &found, options)?;
        let (found, model, optimizer, average, step, seconds): Stored<B, T, O> =
            load::<B, _>(folder, FILE, &device)?;
        same_options(folder, &found, options)?;
        self.model = self.model.load_record(model);
        self.optimizer = self.optimizer.load_record(optimizer);
        if let Some((current, (record, copies))) = self.average.take().zip(average) {
            let loaded = |module| T::Model::from_inner(module).load_record(record).valid();
            self.average = Some(current.map(loaded).with_copies(copies));
        }
        self.step = step;
        self.seconds = seconds;
        Ok(self)
    }
}

/// Checks that a run can begin in a folder.
///
/// # Errors
/// If it has the checkpoint of one.
pub(super) fn vacant<B: AutodiffBackend>(folder: &Path) -> Result<(), SessionError> {
    let extension = <AtomicRecorder as FileRecorder<B>>::file_extension();
    match folder.join(FILE).with_extension(extension).exists() {
        false => Ok(()),
        true => Err(SessionError::Occupied {
            folder: folder.to_path_buf(),
        }),
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

/// Compares options as text, in which a number of single precision is what it was.
fn same_options(folder: &Path, found: &str, given: &str) -> Result<(), SessionError> {
    let folder = folder.to_path_buf();
    let parsed =
        serde_json::from_str(found).and_then(|found| Ok([found, serde_json::from_str(given)?]));
    match parsed {
        Err(source) => Err(SessionError::Options { folder, source }),
        Ok([found, given]) => match differences(&found, &given) {
            None => Ok(()),
            Some(lines) => Err(SessionError::OtherOptions { folder, lines }),
        },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::Training;
    use crate::training::Validation;
    use burn::optim::{AdamW, AdamWConfig};
    use burn::tensor::TensorData;
    use mac_burn::{Mac, MacConfig};
    use mac_burn_models::{Mlp, MlpConfig};

    /// A task to make two outputs small, whose inputs depend on the step.
    pub(in crate::training) struct Small;

    impl Task<Training> for Small {
        type Model = Mlp<Training>;

        fn loss(
            &self,
            model: &Self::Model,
            step: usize,
        ) -> Result<Tensor<Training, 1>, Box<dyn Error>> {
            let values = (0..12)
                .map(|index| ((step * 12 + index) as f32).sin())
                .collect();
            let input = TensorData::new(values, [4, 3]);
            let input = Tensor::<Training, 2>::from_data(input, &Default::default());
            Ok(model.forward(input).square().mean())
        }

        fn validate(&self, _model: &Inner<Self, Training>) -> Result<Validation, Box<dyn Error>> {
            Ok(Validation {
                loss: 0.0,
                accuracy: None,
            })
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
        let model: Mlp<Training> = MlpConfig::new(vec![3, 4, 2]).init(&Default::default());
        let average = ParameterAverage::new(model.valid(), 0.5).with_copies(2);
        let schedule = Schedule {
            lr: 0.1,
            warmup: 2,
            warmup_start: 0.0,
            steps: 8,
            whole_cosine: false,
        };
        let optimizer = mac.expect("the factor is allowed");
        Session {
            average: Some(average),
            ..Session::new(task, model, optimizer, schedule)
        }
    }

    fn take(mut session: Steps<'_>, steps: usize) -> Steps<'_> {
        for _ in 0..steps {
            session = session.advance().expect("the batch is made here").0;
        }
        session
    }

    /// The weights of the network and of its average.
    fn weights(session: &Steps<'_>) -> Vec<TensorData> {
        let layers = session.model.layers.iter();
        let average = session.average.as_ref().expect("there is one").module();
        let averages = average.layers.iter().map(|layer| layer.weight.to_data());
        layers
            .map(|layer| layer.weight.to_data())
            .chain(averages)
            .collect()
    }

    /// Breaks when a checkpoint lacks the network, a part of the optimizer's state, the average, which is a copy in the first
    /// two steps alone, or the step.
    #[test]
    fn a_run_that_is_continued_is_the_run_that_was_not_interrupted() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let session = take(start(&Small), 3);
        session.save(folder.path(), "{}").expect("it is stored");
        let expected = weights(&take(session, 5));

        // A new network has other values and other ids.
        let resumed = start(&Small).resume(folder.path(), "{}");
        let resumed = resumed.expect("there is a checkpoint");
        assert_eq!(weights(&take(resumed, 5)), expected);
    }

    /// Also where the second of the two files of a checkpoint is missing, as after an end between them.
    #[test]
    fn a_missing_checkpoint_is_answered_with_what_to_do() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let said = || {
            let resumed = start(&Small).resume(folder.path(), "{}");
            resumed.err().expect("there is no checkpoint").to_string()
        };
        let answer = format!(
            "there is no checkpoint in {}: run without --resume first",
            folder.path().display()
        );
        assert_eq!(said(), answer);

        start(&Small)
            .save(folder.path(), "{}")
            .expect("it is stored");
        std::fs::remove_file(folder.path().join("checkpoint.mpk")).expect("it is there");
        assert_eq!(said(), answer);
    }

    #[test]
    fn a_broken_checkpoint_is_no_missing_one() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        std::fs::write(folder.path().join("options.mpk"), "text").expect("it can be written");
        let resumed = start(&Small).resume(folder.path(), "{}");
        assert!(matches!(resumed, Err(SessionError::File(_))));
    }

    #[test]
    fn a_checkpoint_of_other_options_is_refused() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let session = start(&Small);
        session
            .save(folder.path(), r#"{"lr": 1, "seed": 2}"#)
            .expect("it is stored");
        let resumed = start(&Small).resume(folder.path(), r#"{"lr": 1, "seed": 3}"#);
        let error = resumed.err().expect("the seed is another").to_string();
        assert!(error.ends_with("begun with:\n  seed: 2, not 3"), "{error}");
    }
}
