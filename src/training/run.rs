use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use burn::module::AutodiffModule;
use burn::optim::Optimizer;
use burn::tensor::backend::AutodiffBackend;
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn::Report;
use serde::Serialize;

use super::session::vacant;
use super::{
    Batches, Curve, CurveArgs, Diverged, Inner, ParameterAverage, Progress, Schedule, Session,
    Task, Validation, heartbeat::heartbeat,
};
use crate::interval::at_least_one;
use crate::optimizers::{OptimizerPlan, WithOptimizer};

const PROGRESS: &str = "{bar:40} {pos}/{len} steps, {per_sec}, {eta} left";

/// The longest time without a line where there is no terminal for a bar.
const SILENCE: Duration = Duration::from_secs(60);

/// The course of a run, as a command line describes it. The defaults are those of a program.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// Number of training steps
    #[arg(long, value_parser = at_least_one())]
    pub steps: Option<usize>,

    /// Batch size
    #[arg(long, value_parser = at_least_one())]
    pub batch_size: Option<usize>,

    /// Validate and store a checkpoint every n steps
    #[arg(long, value_parser = at_least_one())]
    pub every: Option<usize>,

    /// Random seed, of the initial parameters, the order of the data and everything else that is drawn
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Continue from the checkpoint among the artifacts, with otherwise the same options
    #[arg(long)]
    pub resume: bool,

    /// Checkpoint directory
    #[arg(long)]
    pub artifacts: Option<PathBuf>,

    /// The files of the losses.
    #[command(flatten)]
    pub curve: CurveArgs,
}

/// The length of a run, and where it leaves what.
#[derive(Clone, Debug)]
pub struct Course {
    /// Steps to take.
    pub steps: usize,
    /// Items in a batch.
    pub batch_size: usize,
    /// Steps between two validations, each of which a checkpoint follows.
    pub every: usize,
    /// The folder of checkpoints.
    pub artifacts: PathBuf,
}

impl Course {
    /// The options as [`in_words`](Self::in_words) has them, for a program that trains for epochs.
    pub fn of_epochs_in_words(batch_size: usize, artifacts: &str) -> Vec<(&'static str, String)> {
        vec![
            ("steps", "all steps of the epochs".to_string()),
            ("batch_size", batch_size.to_string()),
            ("every", "one epoch".to_string()),
            ("artifacts", artifacts.to_string()),
        ]
    }

    /// The options by their names, for the help of a program that has these as defaults.
    pub fn in_words(&self) -> Vec<(&'static str, String)> {
        vec![
            ("steps", self.steps.to_string()),
            ("batch_size", self.batch_size.to_string()),
            ("every", self.every.to_string()),
            ("artifacts", self.artifacts.display().to_string()),
        ]
    }
}

impl RunArgs {
    /// The course of a program that trains for some epochs of as many items, and validates after each, unless it is told otherwise.
    pub fn course_of_epochs(
        &self,
        epochs: usize,
        items: usize,
        batch_size: usize,
        artifacts: &str,
    ) -> Course {
        let batch_size = self.batch_size.unwrap_or(batch_size);
        let epoch = Batches::new(items, batch_size, self.seed).steps_of_an_epoch();
        self.course(Course {
            steps: epochs * epoch,
            batch_size,
            every: epoch,
            artifacts: artifacts.into(),
        })
    }

    /// The course of a program with these defaults.
    pub fn course(&self, defaults: Course) -> Course {
        Course {
            steps: self.steps.unwrap_or(defaults.steps),
            batch_size: self.batch_size.unwrap_or(defaults.batch_size),
            every: self.every.unwrap_or(defaults.every),
            artifacts: self.artifacts.clone().unwrap_or(defaults.artifacts),
        }
    }
}

/// A run with checkpoints and a progress bar.
pub struct Run<'a, T, C, F> {
    /// The task.
    pub task: &'a T,
    /// The optimizer.
    pub plan: &'a OptimizerPlan,
    /// The learning rates.
    pub schedule: Schedule,
    /// The decay of an average of the parameters in each step; none keeps none.
    pub average: Option<f64>,
    /// Everything else that a run which continues must have in common with this one.
    pub config: C,
    /// The course, whose steps are those of the schedule.
    pub course: &'a Course,
    /// Whether a run is continued, and the files of the losses.
    pub args: &'a RunArgs,
    /// Called when there is something to tell.
    pub tell: F,
}

/// The end of a run.
pub struct Trained<M, V> {
    /// The network.
    pub model: M,
    /// The average of the network over the steps, if one was kept, and its validation.
    pub average: Option<(V, Validation)>,
    /// MAC's report.
    pub report: Option<Report>,
}

/// The end of a run on a task.
pub type Outcome<T, B> = Trained<<T as Task<B>>::Model, Inner<T, B>>;

/// The choices that decide the parameters at the end of a run.
#[derive(Serialize)]
struct Options<'a, C> {
    config: &'a C,
    optimizer: &'a OptimizerPlan,
    schedule: &'a Schedule,
    average: Option<f64>,
    batch_size: usize,
    seed: u64,
}

impl<T, C: Serialize, F: FnMut(Progress)> Run<'_, T, C, F> {
    /// The task, the optimizer and the place of the checkpoints: two lines for the beginning of a program's output.
    pub fn describe(&self, network: &str, parameters: usize) -> String {
        let OptimizerPlan { choice, lr, .. } = self.plan;
        let (seed, folder) = (self.args.seed, self.course.artifacts.display());
        format!(
            "network: {network} with {parameters} parameters; {choice} with learning rate {lr} from seed {seed}\n\
             checkpoints: {folder}"
        )
    }

    /// Trains `model`.
    ///
    /// # Errors
    /// If the folder has the checkpoint of another run, a checkpoint cannot be written or continued from, the data cannot be read,
    /// or a loss is not finite.
    pub fn train<B: AutodiffBackend>(self, model: T::Model) -> Result<Outcome<T, B>, Box<dyn Error>>
    where
        T: Task<B>,
    {
        let (plan, resume) = (self.plan, self.args.resume);
        if !resume {
            vacant::<B>(&self.course.artifacts)?;
        }
        let bar = ProgressBar::new(self.course.steps as u64);
        let bar = bar.with_style(ProgressStyle::with_template(PROGRESS)?);
        // Without a terminal there is no bar.
        let _heartbeat = bar.is_hidden().then(|| {
            let bar = bar.clone();
            heartbeat(SILENCE, move || {
                let (step, steps) = (bar.position(), bar.length().unwrap_or_default());
                eprintln!("step {step} of {steps}");
            })
        });
        // A run that continues has it in the optimizer's record.
        let measures = plan.needs_input_covariance() && !resume;
        let covariance = match measures {
            true => self.task.input_covariance(&model)?,
            false => None,
        };
        let mut average = None;
        let run = Started {
            run: self,
            bar: &bar,
            average: &mut average,
        };
        let (model, report) = plan.train(model, covariance, run)?;
        Ok(Trained {
            model,
            average,
            report,
        })
    }
}

/// A run whose optimizer is being made.
struct Started<'a, 'b, T, C, F, V> {
    run: Run<'a, T, C, F>,
    bar: &'b ProgressBar,
    /// The average at the end.
    average: &'b mut Option<(V, Validation)>,
}

impl<B, M, T, C, F> WithOptimizer<B, M> for Started<'_, '_, T, C, F, M::InnerModule>
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + 'static,
    T: Task<B, Model = M>,
    C: Serialize,
    F: FnMut(Progress),
{
    fn run<O: Optimizer<M, B> + 'static>(
        self,
        model: M,
        optimizer: O,
    ) -> Result<(M, O), Box<dyn Error>> {
        let mut run = self.run;
        let options = serde_json::to_string(&Options {
            config: &run.config,
            optimizer: run.plan,
            schedule: &run.schedule,
            average: run.average,
            batch_size: run.course.batch_size,
            seed: run.args.seed,
        })?;
        // A copy until the warm-up is over and one step after that, as in torchvision's reference code.
        let copies = run.schedule.warmup + 1;
        let average = |decay| ParameterAverage::new(model.valid(), decay).with_copies(copies);
        let average = run.average.map(average);
        let mut session = Session {
            average,
            ..Session::new(run.task, model, optimizer, run.schedule)
        };
        let artifacts = &run.course.artifacts;
        let resume = run.args.resume;
        if resume {
            session = session.resume(artifacts, &options)?;
            if session.step >= session.schedule.steps {
                (run.tell)(session.progress(None)?);
            }
        }
        let files = run.args.curve.clone();
        let mut curve = match resume {
            true => Curve::resumed(files, session.step)?,
            false => Curve::new(files)?,
        };
        let bar = self.bar;
        let session = session.train(run.course.every, bar, |session, progress| {
            Diverged::check(&progress, session.schedule.lr)?;
            bar.suspend(|| (run.tell)(progress));
            curve.add(progress)?;
            Ok(session.save(artifacts, &options)?)
        })?;
        if let Some(average) = session.average.map(ParameterAverage::into_module) {
            let validation = run.task.validate(&average)?;
            *self.average = Some((average, validation));
        }
        Ok((session.model, session.optimizer))
    }
}

#[cfg(test)]
mod tests;
