use std::error::Error;
use std::path::PathBuf;

use burn::module::AutodiffModule;
use burn::optim::Optimizer;
use burn::tensor::backend::AutodiffBackend;
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn::Report;

use super::{
    Curve, CurveArgs, Diverged, LearningRates, OptimizerArgs, Progress, Schedule, Session, Task,
    WithOptimizer, train,
};
use crate::interval::at_least_one;

const PROGRESS: &str = "{bar:40} {pos}/{len} steps, {per_sec}, {eta} left";

/// The course of a run, as a command line describes it.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// Steps to take
    #[arg(long, default_value_t = 600, value_parser = at_least_one())]
    pub steps: usize,

    /// Items in a batch
    #[arg(long, default_value_t = 32, value_parser = at_least_one())]
    pub batch_size: usize,

    /// Validate and store a checkpoint every n steps
    #[arg(long, default_value_t = 100, value_parser = at_least_one())]
    pub every: usize,

    /// Seed of all that is drawn at random, as the initial parameters and the order of the data
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Continue from the checkpoint among the artifacts, with otherwise the same options
    #[arg(long)]
    pub resume: bool,

    /// The files of the losses.
    #[command(flatten)]
    pub curve: CurveArgs,
}

/// A run with checkpoints and a progress bar.
pub struct Run<'a, T, F> {
    /// The task.
    pub task: &'a T,
    /// The course of the run.
    pub args: &'a RunArgs,
    /// The optimizer.
    pub optimizer: &'a OptimizerArgs,
    /// The learning rates of the task.
    pub rates: LearningRates,
    /// The other options that a run which continues must have in common with this one, a line for each.
    pub options: String,
    /// Where checkpoints are.
    pub artifacts: PathBuf,
    /// Called when there is something to tell.
    pub tell: F,
}

impl<T, F: FnMut(Progress)> Run<'_, T, F> {
    /// Trains `model`, and returns it with MAC's report.
    ///
    /// # Errors
    /// If a checkpoint cannot be written or continued from, or a loss is not finite.
    pub fn train<B: AutodiffBackend>(
        self,
        model: T::Model,
    ) -> Result<(T::Model, Option<Report>), Box<dyn Error>>
    where
        T: Task<B>,
    {
        let lr = self.optimizer.lr(self.rates);
        let plan = self.optimizer.plan(lr);
        // A run that continues has it in the optimizer's record.
        let measures = plan.needs_input_covariance() && !self.args.resume;
        let covariance = measures.then(|| self.task.input_covariance(&model));
        let run = Started {
            model: plan.choice.prepare(model),
            run: self,
            lr,
        };
        plan.train(covariance.flatten(), run)
    }

    fn options(&self, lr: f64) -> String {
        let RunArgs {
            steps,
            batch_size,
            every: _,
            seed,
            resume: _,
            curve: _,
        } = self.args;
        format!(
            "{}\n--steps {steps}\n--batch-size {batch_size}\n--seed {seed}\nlearning rate {lr}\n{}",
            self.options,
            self.optimizer.lines()
        )
    }
}

/// A run whose optimizer is being made.
struct Started<'a, T, F, M> {
    run: Run<'a, T, F>,
    model: M,
    lr: f64,
}

impl<B, M, T, F> WithOptimizer<B, M> for Started<'_, T, F, M>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    T: Task<B, Model = M>,
    F: FnMut(Progress),
{
    fn run<O: Optimizer<M, B> + 'static>(self, optimizer: O) -> Result<(M, O), Box<dyn Error>> {
        let Self { mut run, model, lr } = self;
        let options = run.options(lr);
        let mut session = Session {
            task: run.task,
            model,
            optimizer,
            schedule: Schedule {
                lr,
                warmup: run.optimizer.warmup.min(run.args.steps / 2),
                warmup_start: 0.0,
                steps: run.args.steps,
                whole_cosine: false,
            },
            step: 0,
        };
        if run.args.resume {
            session = session.resume(&run.artifacts, &options)?;
            if let Some(progress) = finished(&session) {
                (run.tell)(progress);
            }
        }
        let files = run.args.curve.clone();
        let mut curve = match run.args.resume {
            true => Curve::resumed(files, session.step)?,
            false => Curve::new(files)?,
        };
        let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(PROGRESS)?);
        let session = train(session, run.args.every, &bar, |session, monitor| {
            Diverged::check(&monitor, lr)?;
            let progress = Progress::from(monitor);
            bar.suspend(|| (run.tell)(progress));
            curve.add(progress.into())?;
            Ok(session.save(&run.artifacts, &options)?)
        })?;
        Ok((session.model, session.optimizer))
    }
}

/// How a run is that has no step left; none of one that has.
fn finished<B, T, O>(session: &Session<'_, B, T, O>) -> Option<Progress>
where
    B: AutodiffBackend,
    T: Task<B>,
    O: Optimizer<T::Model, B>,
{
    (session.step >= session.schedule.steps).then(|| Progress {
        step: session.step,
        train_loss: None,
        validation_loss: session.validation_loss(),
        seconds: 0.0,
    })
}

#[cfg(test)]
mod tests;
