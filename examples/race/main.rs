//! Compares optimizers: each is tuned with the same number of trials, and measured with seeds and on data that chose nothing.
//!
//! ```text
//! cargo run --release --example race -- --task vit-digits --task char-gpt
//! cargo run --release --example race -- --task lenet --data-dir fashion-mnist --optimizer mac-adamw --optimizer sgd-adamw
//! cargo run --release --example race -- --task char-gpt --text FILE --out target/other-text
//! cargo run --release --example race -- --task char-gpt --text FILE --settings docs/race --out target/carried-over
//! cargo run --release --example race -- --help
//! ```
//!
//! A task fixes data, batch size, network, initialization, steps, warm-up and decay of the learning rate. The learning rate of each
//! optimizer, that of AdamW beside it, and MAC's damping or the weight decay of the others are searched for on a validation part;
//! the table is of a test part.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod plot;
mod runs;
mod standings;
mod statistics;
mod summary;
mod trial;
mod tuning;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Parser;
use env_logger::Env;
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn_examples::backend::Selected;
use mac_burn_examples::exit;
use mac_burn_examples::no_device::probe;
use mac_burn_examples::optimizers::OptimizerChoice;
use mac_burn_examples::tasks::TaskChoice;

use args::Args;
use runs::{Run, Runs};
use standings::Race;
use summary::summary;
use trial::{Outcome, Trial, rules_number};
use tuning::search;

const PROGRESS: &str = "{bar:40} {pos}/{len} runs, {elapsed}, {eta} left {wide_msg}";

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    let args = Args::parse();
    exit::explained(match &args.run {
        Some(trial) => run_one(trial, &args),
        None => race(&args),
    })
}

/// A run in this process, whose outcome is printed.
fn run_one(trial: &str, args: &Args) -> Result<(), Box<dyn Error>> {
    let trial: Trial = serde_json::from_str(trial)?;
    let outcome = trial.run(&args.data)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn race(args: &Args) -> Result<(), Box<dyn Error>> {
    probe::<Selected>(&Default::default())?;
    let runs = Runs::open(&args.out)?;
    for task in &args.tasks {
        let optimizers = args.optimizers(*task);
        let field = Field {
            args,
            runs: &runs,
            task: *task,
            data: task.data(&args.data)?,
            bar: progress_bar(match args.settings {
                Some(_) => 0,
                None => optimizers.len() * args.trials(),
            })?,
        };
        let result = match &args.settings {
            Some(folder) => {
                let others = Runs::of_other(folder)?;
                let tuned = optimizers.iter();
                let tuned = tuned.map(|choice| field.carried_over(*choice, &others, folder));
                field.run_all(&tuned.collect::<Result<Vec<_>, _>>()?)
            }
            None => field.race(&optimizers),
        };
        field.bar.finish_and_clear();
        result.map_err(|error| error.to_string())?;
        // After each task, since the next may take hours.
        let all = runs.all();
        fs::write(args.out.join("summary.md"), summary(&all))?;
        for race in Race::all(&all) {
            plot::draw(&race, &args.out)?;
        }
    }
    println!("{}", summary(&runs.all()));
    println!("{}", args.out.join("summary.md").display());
    Ok(())
}

fn progress_bar(runs: usize) -> Result<ProgressBar, Box<dyn Error>> {
    let bar = ProgressBar::new(runs as u64);
    Ok(bar.with_style(ProgressStyle::with_template(PROGRESS)?))
}

/// The optimizers on a task.
struct Field<'a> {
    args: &'a Args,
    runs: &'a Runs,
    task: TaskChoice,
    data: String,
    bar: ProgressBar,
}

impl Field<'_> {
    fn race(&self, optimizers: &[OptimizerChoice]) -> Result<(), Failure> {
        let (jobs, threads) = self.args.jobs_and_threads();
        let tuned = in_parallel(jobs, optimizers, |choice| self.tune(*choice, threads))?;
        self.run_all(&tuned)
    }

    /// Runs settings with all seeds on the test part; and, if asked for, other learning rates on the validation part.
    fn run_all(&self, tuned: &[Trial]) -> Result<(), Failure> {
        let (jobs, threads) = self.args.jobs_and_threads();
        let seeds = 1..=self.args.seeds(self.task.rules().seeds);
        let tests = seeds.flat_map(|seed| tuned.iter().map(move |best| best.for_test(seed)));
        let seeds = 0..u64::from(self.args.sensitivity.unwrap_or(0));
        let others = seeds.flat_map(|seed| tuned.iter().flat_map(move |best| best.at_rates(seed)));
        let trials: Vec<Trial> = tests.chain(others).collect();
        self.bar.inc_length(trials.len() as u64);
        in_parallel(jobs, &trials, |trial| self.outcome(trial, threads))?;
        Ok(())
    }

    fn steps(&self) -> usize {
        let quick = self.args.data.quick;
        let steps = if quick { 2 } else { self.task.rules().steps };
        self.args.steps.unwrap_or(steps)
    }

    /// The best settings of an optimizer that other runs of the task, or of the narrow one, have found.
    ///
    /// # Errors
    /// If there are none.
    fn carried_over(
        &self,
        choice: OptimizerChoice,
        others: &[Run],
        folder: &Path,
    ) -> Result<Trial, String> {
        let races = Race::all(others);
        let tasks = [Some(self.task), self.task.narrow()].into_iter().flatten();
        let mut races: Vec<&Race> = tasks
            .flat_map(|task| races.iter().filter(move |race| race.task == task))
            .filter(|race| race.trials > 0)
            .collect();
        // Those of as many steps first.
        races.sort_by_key(|race| race.steps != self.steps());
        let mut races = races.into_iter();
        let found = races.find_map(|race| race.standing(choice.name()));
        let best = found.map(|standing| Trial {
            task: self.task,
            data: self.data.clone(),
            rules: rules_number(self.task),
            steps: self.steps(),
            ..standing.best.clone()
        });
        best.ok_or_else(|| {
            let (task, folder) = (self.task.name(), folder.display());
            format!("{folder} has no trials of {} on {task}", choice.name())
        })
    }

    /// The best settings of an optimizer on the validation part.
    fn tune(&self, choice: OptimizerChoice, threads: usize) -> Result<Trial, Failure> {
        let trial = Trial::to_tune(self.task, &self.data, self.steps(), choice);
        let searched = trial.searched();
        let best = search(&searched, self.args.trials(), |values| {
            let outcome = self.outcome(&trial.with(&searched, values), threads)?;
            Ok::<_, Failure>(outcome.loss.unwrap_or(f64::INFINITY))
        })?;
        Ok(trial.with(&searched, &best))
    }

    /// The outcome of a run, which is begun if it is not done.
    fn outcome(&self, trial: &Trial, threads: usize) -> Result<Outcome, Failure> {
        let outcome = match self.runs.find(trial) {
            Some(outcome) => outcome,
            None => {
                let outcome = trial.run_in_process(&self.args.data, threads)?;
                let run = Run {
                    trial: trial.clone(),
                    outcome: outcome.clone(),
                };
                self.runs.add(run)?;
                outcome
            }
        };
        self.bar.inc(1);
        let loss = outcome
            .loss
            .map_or("diverged".to_string(), |loss| format!("{loss:.3}"));
        let (task, optimizer) = (self.task.name(), trial.optimizer);
        let message = format!("{task}, {optimizer}, lr {}: {loss}", trial.lr);
        if self.bar.is_hidden() {
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            eprintln!("{done}/{all} {message}");
        }
        self.bar.set_message(message);
        Ok(outcome)
    }
}

/// Does the work on all items, on as many of them at a time, and returns the results in the order of the items. After an error no
/// further item is begun.
fn in_parallel<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R, Failure>>>> =
        items.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        break;
                    };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    *results[index]
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    let results = results.into_iter();
    let results =
        results.filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner));
    results.collect()
}
