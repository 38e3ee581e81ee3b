//! A run, in this process or one of its own.

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::Instant;

use burn::module::AutodiffModule;
use burn::optim::Optimizer;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::backend::Backend;
use indicatif::ProgressBar;
use mac_burn_examples::backend::{Selected, Training};
use mac_burn_examples::fingerprint::fingerprint;
use mac_burn_examples::machine::describe_machine;
use mac_burn_examples::optimizers::{
    LayerStep, OptimizerChoice, OptimizerPlan, WithOptimizer, mac_for_short_runs,
};
use mac_burn_examples::tasks::{DataArgs, Part, TaskChoice, WithTask};
use mac_burn_examples::training::{Progress, Schedule, Session, Task};
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};

use crate::tuning::{Searched, Setting, rounded, searched};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The seed of all trials.
const TUNING_SEED: u64 = 0;

/// The factors of a learning rate by which its sensitivity is shown.
pub(crate) const RATE_FACTORS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// The seed of the first run at other learning rates. Tests have smaller ones.
const FIRST_SEED_OF_RATES: u64 = 17;

/// Of the steps, one in this many is of the warm-up.
const WARMUP_SHARE: usize = 20;

/// The environment variable by which the processors' backends are told their threads.
const THREADS: &str = "RAYON_NUM_THREADS";

/// Measurements of a run for the table, for its curve.
const MEASUREMENTS: usize = 8;

/// A run: all that decides its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) task: TaskChoice,
    pub(crate) data: String,
    /// A fingerprint of the task's rules.
    pub(crate) rules: String,
    pub(crate) optimizer: OptimizerChoice,
    pub(crate) part: Part,
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    pub(crate) lr: f64,
    /// The learning rate of AdamW, where it is beside another optimizer.
    pub(crate) auxiliary_lr: Option<f64>,
    pub(crate) weight_decay: f64,
    /// MAC's.
    pub(crate) damping: Option<f64>,
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The loss at the end; none if the run diverged.
    pub(crate) loss: Option<f64>,
    /// The share that is classified correctly, in percent.
    pub(crate) accuracy: Option<f64>,
    /// The time of the steps, and of measuring and inverting the covariance of the first layer's inputs.
    pub(crate) seconds: f64,
    /// The size of the optimizer's record.
    pub(crate) state_bytes: usize,
    /// The largest amount of memory that was allocated while it trained and was measured, above the data set and the network.
    pub(crate) peak_bytes: usize,
    /// Step, loss and seconds of each measurement.
    pub(crate) losses: Vec<(usize, f64, f64)>,
    /// All settings of the optimizer, as JSON.
    pub(crate) settings: String,
    /// The machine that it ran on, and its threads.
    pub(crate) machine: String,
}

/// A fingerprint of what all optimizers have in common on a task.
pub(crate) fn rules_number(task: TaskChoice) -> String {
    let rules = task.rules();
    let backend = Selected::name(&Default::default());
    let mac = mac_for_short_runs();
    let mac = (mac.stat_decay, mac.tcov, mac.tinv);
    let text = format!(
        "{} {} {} {:?} {WARMUP_SHARE} {mac:?} {backend}",
        rules.network, rules.batch_size, rules.measured, rules.lr
    );
    format!("{:08x}", fingerprint(text) as u32)
}

impl Trial {
    /// A trial of an optimizer's settings on the validation part, with those that are not searched for.
    pub(crate) fn to_tune(
        task: TaskChoice,
        data: &str,
        steps: usize,
        optimizer: OptimizerChoice,
    ) -> Self {
        Self {
            task,
            data: data.to_string(),
            rules: rules_number(task),
            optimizer,
            part: Part::Validation,
            seed: TUNING_SEED,
            steps,
            // Replaced, as it is always searched for.
            lr: 0.0,
            // Any value, where AdamW steps nothing, and replaced otherwise.
            auxiliary_lr: optimizer.auxiliary.then_some(task.rules().lr.auxiliary),
            // Kept, where damping is searched for in its place.
            weight_decay: match optimizer.step {
                LayerStep::Momentum => 1e-4,
                LayerStep::AdamW | LayerStep::Form(_) | LayerStep::Muon => 0.05,
            },
            damping: None,
        }
    }

    /// The same with values of the settings that are searched for.
    pub(crate) fn with(&self, searched: &[Searched], values: &[f64]) -> Self {
        let mut trial = self.clone();
        for (searched, value) in searched.iter().zip(values) {
            match searched.setting {
                Setting::LearningRate => trial.lr = *value,
                Setting::AuxiliaryLearningRate => trial.auxiliary_lr = Some(*value),
                Setting::WeightDecay => trial.weight_decay = *value,
                Setting::Damping => trial.damping = Some(*value),
            }
        }
        trial
    }

    /// The settings that are searched for.
    pub(crate) fn searched(&self) -> Vec<Searched> {
        let rules = self.task.rules();
        searched(self.optimizer, rules.lr, rules.has_rest)
    }

    /// The run with these settings on the test part.
    pub(crate) fn for_test(&self, seed: u64) -> Self {
        Self {
            part: Part::Test,
            seed,
            ..self.clone()
        }
    }

    /// The runs with a quarter, a half, all, twice and four times the learning rate, on the validation part, with a seed that neither
    /// trials nor tests have.
    pub(crate) fn at_rates(&self, seed: u64) -> impl Iterator<Item = Self> {
        let rates = RATE_FACTORS.map(|factor| rounded(factor * self.lr));
        rates.into_iter().map(move |lr| Self {
            part: Part::Validation,
            seed: FIRST_SEED_OF_RATES + seed,
            lr,
            ..self.clone()
        })
    }

    /// The optimizer with all its settings.
    fn plan(&self) -> OptimizerPlan {
        let mac = mac_for_short_runs()
            .with_weight_decay(self.weight_decay)
            .with_damping(self.damping.unwrap_or(1.0));
        let plan = OptimizerPlan::new(self.optimizer, self.lr, mac)
            .with_weight_decay(self.weight_decay)
            .with_gradient_scale(self.task.gradient_scale())
            .with_head(self.task.rules().head.to_string());
        match self.auxiliary_lr {
            Some(auxiliary_lr) => plan.with_auxiliary_lr(auxiliary_lr),
            None => plan,
        }
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            lr: self.lr,
            warmup: self.steps / WARMUP_SHARE,
            warmup_start: 0.0,
            steps: self.steps,
            whole_cosine: false,
        }
    }

    /// Runs in this process.
    ///
    /// # Errors
    /// If the data cannot be read, or a setting is out of its range.
    pub(crate) fn run(&self, args: &DataArgs) -> Result<Outcome, Box<dyn Error>> {
        self.task.with(self.part, self.seed, args, Train(self))
    }

    /// Runs in a process of its own, so that memory is that of this run, with as many threads.
    ///
    /// # Errors
    /// If the process cannot be started, or fails.
    pub(crate) fn run_in_process(
        &self,
        args: &DataArgs,
        threads: usize,
    ) -> Result<Outcome, Box<dyn Error + Send + Sync>> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("--run").arg(serde_json::to_string(self)?);
        command.env(THREADS, threads.to_string());
        if let Some(folder) = &args.data_dir {
            command.arg("--data-dir").arg(folder);
        }
        if let Some(text) = &args.text {
            command.arg("--text").arg(text);
        }
        if args.quick {
            command.arg("--quick");
        }
        let output = command.output()?;
        match output.status.success() {
            // The lines before the last are of whatever else the process had to say.
            true => {
                let printed = String::from_utf8(output.stdout)?;
                Ok(serde_json::from_str(
                    printed.lines().last().unwrap_or_default(),
                )?)
            }
            false => {
                let reason = String::from_utf8_lossy(&output.stderr);
                let reason = reason.trim().trim_start_matches("error: ").to_string();
                Err(format!(
                    "{} with {}: {reason}",
                    self.task.name(),
                    self.optimizer.name()
                )
                .into())
            }
        }
    }
}

/// Training as a trial says.
struct Train<'a>(&'a Trial);

impl WithTask for Train<'_> {
    type Output = Outcome;

    /// The measurements of a run that diverges are its outcome as well.
    fn run<T: Task<Training>>(self, task: &T, model: T::Model) -> Result<Outcome, Box<dyn Error>> {
        let trial = self.0;
        let plan = trial.plan();
        let settings = serde_json::to_string(&plan.for_network(&model)?)?;
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let start = Instant::now();
        let covariance = match plan.needs_input_covariance() {
            true => task.input_covariance(&model)?,
            false => None,
        };
        let every = match trial.part {
            Part::Validation => trial.steps,
            Part::Test => (trial.steps / MEASUREMENTS).max(1),
        };
        let mut watched = Watched::default();
        let watch = Watch {
            task,
            schedule: trial.schedule(),
            every,
            start,
            watched: &mut watched,
        };
        if let Err(error) = plan.train(model, covariance, watch)
            && !watched.diverged
        {
            return Err(error);
        }
        // Of a run that diverged; the others have stored it before their state was written.
        let peak = watched.peak.unwrap_or_else(|| MEMORY.peak_usage());
        let last = watched.seen.last();
        let before_steps = watched.before_steps;
        let seconds = |seen: &Progress| seen.seconds + before_steps;
        let finite = watched
            .seen
            .iter()
            .filter(|seen| seen.validation_loss.is_finite());
        Ok(Outcome {
            loss: last
                .filter(|_| !watched.diverged)
                .map(|seen| seen.validation_loss),
            accuracy: last.and_then(|seen| seen.validation_accuracy),
            seconds: last.map_or(before_steps, seconds),
            state_bytes: watched.state_bytes,
            peak_bytes: peak.saturating_sub(before),
            losses: finite
                .map(|seen| (seen.step, seen.validation_loss, seconds(seen)))
                .collect(),
            settings,
            machine: format!("{}, {} in a run", describe_machine(), threads()),
        })
    }
}

/// The threads of this process, as [`Trial::run_in_process`] set them.
fn threads() -> String {
    let threads = env::var(THREADS).unwrap_or_else(|_| "any number of".into());
    match threads.as_str() {
        "1" => "1 thread".into(),
        threads => format!("{threads} threads"),
    }
}

/// The measurements of a run.
#[derive(Default)]
struct Watched {
    seen: Vec<Progress>,
    /// The seconds until the first step.
    before_steps: f64,
    diverged: bool,
    /// The largest amount of memory while it trained.
    peak: Option<usize>,
    state_bytes: usize,
}

/// A run that is watched.
struct Watch<'a, T> {
    task: &'a T,
    schedule: Schedule,
    /// Steps between two measurements.
    every: usize,
    /// The beginning of what the optimizer needs before the first step.
    start: Instant,
    watched: &'a mut Watched,
}

impl<B, M, T> WithOptimizer<B, M> for Watch<'_, T>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    T: Task<B, Model = M>,
{
    fn run<O: Optimizer<M, B> + 'static>(
        self,
        model: M,
        optimizer: O,
    ) -> Result<(M, O), Box<dyn Error>> {
        let session = Session::new(self.task, model, optimizer, self.schedule);
        let watched = self.watched;
        watched.before_steps = self.start.elapsed().as_secs_f64();
        let session = session.train(self.every, &ProgressBar::hidden(), |_, progress| {
            let losses = [progress.validation_loss, progress.train_loss.unwrap_or(0.0)];
            watched.diverged = losses.iter().any(|loss| !loss.is_finite());
            watched.seen.push(progress);
            match watched.diverged {
                true => Err("the run diverged".into()),
                false => Ok(()),
            }
        })?;
        watched.peak = Some(MEMORY.peak_usage());
        let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
        let record = session.optimizer.to_record();
        watched.state_bytes = Recorder::<B>::record(&recorder, record, ())?.len();
        Ok((session.model, session.optimizer))
    }
}
