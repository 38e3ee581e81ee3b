//! The command line of the example.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::{Parser, ValueEnum};
use mac_burn_examples::interval::at_least_one;
use mac_burn_examples::optimizers::OptimizerChoice;
use mac_burn_examples::tasks::{DataArgs, TaskChoice};

/// Compares optimizers on a task: tunes each with the same number of trials on a validation part, and trains the best settings
/// of each with other seeds, measured on a test part.
///
/// Leaves runs.csv, summary.md and pictures in a folder. A run that is there is not run again, so that a comparison can be
/// interrupted, continued and extended.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Task; may be repeated
    #[arg(
        long = "task",
        value_name = "TASK",
        value_enum,
        required_unless_present = "run"
    )]
    pub(crate) tasks: Vec<TaskChoice>,

    /// Optimizer; may be repeated [default: all, but for those that would train the network exactly as another does]
    #[arg(long = "optimizer", value_name = "OPTIMIZER", value_enum)]
    optimizers: Vec<OptimizerChoice>,

    /// Trials of each optimizer to choose its settings by; with --quick, 1
    #[arg(long, default_value_t = 7, value_parser = at_least_one())]
    pub(crate) trials: usize,

    /// Skip tuning, and use the best settings found in this folder of another race (for a wide task, those of the narrow one)
    #[arg(long, value_name = "FOLDER", conflicts_with = "trials")]
    pub(crate) settings: Option<PathBuf>,

    /// Seeds of the final runs, at most 16 [default: the task's, 6 or 10; with --quick, 2]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    seeds: Option<u8>,

    /// Also run the best settings at 1/4, 1/2, 1, 2 and 4 times their learning rate, on the validation part, with this many seeds
    #[arg(long, value_name = "SEEDS", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) sensitivity: Option<u8>,

    /// Steps of a run [default: the task's]
    #[arg(long, value_parser = at_least_one())]
    pub(crate) steps: Option<usize>,

    /// Folder of runs.csv, summary.md and the pictures
    #[arg(long, default_value = "target/race")]
    pub(crate) out: PathBuf,

    /// Runs at a time, each in a process of its own [default: the number of cores]
    #[arg(long, value_parser = at_least_one())]
    jobs: Option<usize>,

    /// The data of the runs.
    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// A run, as JSON: what the processes that this one starts are told.
    #[arg(long, hide = true)]
    pub(crate) run: Option<String>,
}

impl Args {
    /// Runs at a time, and the threads of each.
    pub(crate) fn jobs_and_threads(&self) -> (usize, usize) {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let jobs = self.jobs.unwrap_or(cores);
        (jobs, (cores / jobs).max(1))
    }

    /// The optimizers on a task, in the order of their list.
    pub(crate) fn optimizers(&self, task: TaskChoice) -> Vec<OptimizerChoice> {
        let all = OptimizerChoice::value_variants();
        if self.optimizers.is_empty() {
            let rules = task.rules();
            return OptimizerChoice::distinct(all, rules.has_rest, rules.measures_inputs);
        }
        let chosen = all.iter().filter(|choice| self.optimizers.contains(choice));
        chosen.copied().collect()
    }

    pub(crate) fn trials(&self) -> usize {
        if self.data.quick { 1 } else { self.trials }
    }

    /// The number of seeds of a task with this default.
    pub(crate) fn seeds(&self, default: usize) -> u64 {
        let default = if self.data.quick { 2 } else { default };
        self.seeds.map_or(default as u64, u64::from)
    }
}
