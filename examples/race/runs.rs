//! The file of all runs.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mac_burn_examples::optimizers::OptimizerChoice;
use mac_burn_examples::tasks::{Part, TaskChoice};
use serde::{Deserialize, Serialize};

use crate::trial::{Outcome, Trial};

/// The name of the file in its folder.
const FILE: &str = "runs.csv";

/// A run that is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) trial: Trial,
    pub(crate) outcome: Outcome,
}

/// All runs of a folder, which are kept in its `runs.csv`.
pub(crate) struct Runs {
    file: PathBuf,
    runs: Mutex<Vec<Run>>,
}

/// The runs of a file.
fn read(file: &Path) -> Result<Vec<Run>, Box<dyn Error>> {
    let read = || -> Result<Vec<Run>, Box<dyn Error>> {
        let rows = csv::Reader::from_path(file)?.into_deserialize::<Row>();
        rows.map(|row| Run::try_from(row?)).collect()
    };
    read().map_err(|error| format!("{}: {error}", file.display()).into())
}

impl Runs {
    /// Reads the runs of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// If the folder cannot be made, or the file has other columns.
    pub(crate) fn open(folder: &Path) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let file = folder.join(FILE);
        let runs = match file.exists() {
            false => Vec::new(),
            true => read(&file)?,
        };
        Ok(Self {
            file,
            runs: Mutex::new(runs),
        })
    }

    /// The runs of another race.
    ///
    /// # Errors
    /// If there are none, or the file has other columns.
    pub(crate) fn of_other(folder: &Path) -> Result<Vec<Run>, Box<dyn Error>> {
        read(&folder.join(FILE))
    }

    /// The outcome of a run, if it is done.
    pub(crate) fn find(&self, trial: &Trial) -> Option<Outcome> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = runs.iter().find(|run| run.trial == *trial);
        found.map(|run| run.outcome.clone())
    }

    /// Adds a run to the file: its whole line at once, so that an interruption leaves no part of it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn add(&self, run: Run) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.iter().any(|known| known.trial == run.trial) {
            return Ok(());
        }
        let mut csv = csv::WriterBuilder::new()
            .has_headers(!self.file.exists())
            .from_writer(Vec::new());
        csv.serialize(Row::from(&run))?;
        let line = csv.into_inner()?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.file)?;
        file.write_all(&line)?;
        runs.push(run);
        Ok(())
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Run> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.clone()
    }
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Row {
    task: TaskChoice,
    data: String,
    rules: String,
    optimizer: OptimizerChoice,
    part: Part,
    seed: u64,
    steps: usize,
    lr: f64,
    auxiliary_lr: Option<f64>,
    weight_decay: f64,
    damping: Option<f64>,
    loss: Option<f64>,
    accuracy: Option<f64>,
    seconds: f64,
    state_bytes: usize,
    peak_bytes: usize,
    /// Step, loss and seconds of each measurement: `300:0.5:2.25 600:0.4:4.5`.
    losses: String,
    settings: String,
    machine: String,
}

impl From<&Run> for Row {
    fn from(Run { trial, outcome }: &Run) -> Self {
        let losses = outcome.losses.iter();
        let losses = losses.map(|(step, loss, seconds)| format!("{step}:{loss}:{seconds:.3}"));
        let (trial, outcome) = (trial.clone(), outcome.clone());
        Self {
            task: trial.task,
            data: trial.data,
            rules: trial.rules,
            optimizer: trial.optimizer,
            part: trial.part,
            seed: trial.seed,
            steps: trial.steps,
            lr: trial.lr,
            auxiliary_lr: trial.auxiliary_lr,
            weight_decay: trial.weight_decay,
            damping: trial.damping,
            loss: outcome.loss,
            accuracy: outcome.accuracy,
            seconds: outcome.seconds,
            state_bytes: outcome.state_bytes,
            peak_bytes: outcome.peak_bytes,
            losses: losses.collect::<Vec<_>>().join(" "),
            settings: outcome.settings,
            machine: outcome.machine,
        }
    }
}

impl TryFrom<Row> for Run {
    type Error = Box<dyn Error>;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        let measurement = |text: &str| {
            let mut fields = text.split(':');
            let step = fields.next()?.parse().ok()?;
            let mut number = || fields.next()?.parse().ok();
            Some((step, number()?, number()?))
        };
        let losses: Option<Vec<_>> = row.losses.split_whitespace().map(measurement).collect();
        let losses = losses.ok_or_else(|| format!("losses are {:?}", row.losses))?;
        Ok(Self {
            trial: Trial {
                task: row.task,
                data: row.data,
                rules: row.rules,
                optimizer: row.optimizer,
                part: row.part,
                seed: row.seed,
                steps: row.steps,
                lr: row.lr,
                auxiliary_lr: row.auxiliary_lr,
                weight_decay: row.weight_decay,
                damping: row.damping,
            },
            outcome: Outcome {
                loss: row.loss,
                accuracy: row.accuracy,
                seconds: row.seconds,
                state_bytes: row.state_bytes,
                peak_bytes: row.peak_bytes,
                losses,
                settings: row.settings,
                machine: row.machine,
            },
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run on the test part.
    pub(crate) fn run(optimizer: OptimizerChoice, lr: f64, seed: u64, loss: f64) -> Run {
        Run {
            trial: Trial {
                task: TaskChoice::Mlp,
                data: "digits".into(),
                rules: "1".into(),
                optimizer,
                part: Part::Test,
                seed,
                steps: 20,
                lr,
                auxiliary_lr: optimizer.auxiliary.then_some(1e-3),
                weight_decay: 0.1,
                damping: optimizer.is_preconditioned().then_some(0.3),
            },
            outcome: Outcome {
                loss: Some(loss),
                accuracy: Some(75.0),
                seconds: 1.5,
                state_bytes: 100,
                peak_bytes: 1 << 20,
                losses: vec![(10, 2.0 * loss, 0.75), (20, loss, 1.5)],
                settings: "{\"lr\": 1, \"of\": \"all\"}".into(),
                machine: "a machine, 1 core".into(),
            },
        }
    }

    /// Breaks when a column is lost or rounded, or a second run takes the place of the first.
    #[test]
    fn runs_are_read_as_they_were_added() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut diverged = run(OptimizerChoice::SGD, 0.1 + 0.2, 2, 0.5);
        diverged.outcome.loss = None;
        diverged.outcome.losses.clear();
        let expected = [run(OptimizerChoice::MAC_ADAMW, 1.0 / 3.0, 1, 0.5), diverged];
        let runs = Runs::open(folder.path()).expect("the folder is empty");
        for run in &expected {
            runs.add(run.clone()).expect("it can be written");
        }
        let read = Runs::open(folder.path()).expect("the file is right");
        assert_eq!(read.all(), expected);
        assert_eq!(
            read.find(&expected[1].trial).as_ref(),
            Some(&expected[1].outcome)
        );
        let mut other = expected[1].trial.clone();
        other.steps += 1;
        assert_eq!(read.find(&other), None);
    }

    #[test]
    fn a_file_that_is_no_list_of_runs_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::write(folder.path().join("runs.csv"), "a,b\n1,2\n").expect("it can be written");
        let error = Runs::open(folder.path())
            .err()
            .expect("it has other columns");
        assert!(error.to_string().contains("runs.csv"), "{error}");
    }
}
