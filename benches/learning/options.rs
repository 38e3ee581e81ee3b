use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};
use mac_burn_examples::training::{LearningRates, OptimizerArgs, OptimizerDefaults};
use std::path::PathBuf;

/// Steps of a run.
const STEPS: usize = 600;

/// The settings of the examples; the learning rates are those of a grid.
pub(crate) fn defaults() -> OptimizerDefaults {
    OptimizerDefaults::transformer(LearningRates {
        mac: f64::NAN,
        sgd: f64::NAN,
        adamw: f64::NAN,
    })
}

/// The selection of the command line.
#[derive(Parser, Clone, Debug)]
#[command(about = "Tables of validation losses; learning rates are chosen on one grid")]
pub(crate) struct Options {
    /// Only tasks whose name contains this; may be repeated
    #[arg(long)]
    task: Vec<String>,
    /// Only optimizers whose name contains this; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Steps of a run
    #[arg(long, default_value_t = STEPS)]
    steps: usize,
    /// A learning rate to try; may be repeated
    #[arg(long, default_values_t = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0])]
    grid: Vec<f64>,
    /// Seeds that the table is of; with 0, only the learning rates are tried
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The validation loss that steps and seconds are counted to [default: what all reach on average]
    #[arg(long)]
    pub(crate) goal: Option<f64>,
    /// Draw the losses of each task into a file of this folder, as SVG
    #[arg(long, value_name = "FOLDER")]
    pub(crate) plot: Option<PathBuf>,
    /// The settings of the optimizers besides the learning rate.
    #[command(flatten)]
    pub(crate) optimizer: OptimizerArgs,
    /// Two steps of each, to see that everything runs
    #[arg(long)]
    test: bool,
    /// Given by `cargo bench`, and not by `cargo test --benches`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Options of an example that mean nothing where all optimizers run at all learning rates, and what to use.
const INSTEAD: [(&str, &str); 2] = [("optimizer", "--only"), ("lr", "--grid")];

impl Options {
    /// Reads the command line; ends the program where it is wrong.
    pub(crate) fn read() -> Self {
        let mut command = Self::command();
        let matches = command.get_matches_mut();
        for (option, instead) in INSTEAD {
            if matches.value_source(option) == Some(ValueSource::CommandLine) {
                let message = format!("--{option} is no option of this benchmark; use {instead}");
                command.error(ErrorKind::UnknownArgument, message).exit();
            }
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Whether to run everything for a moment only.
    pub(crate) fn quick(&self) -> bool {
        self.test || !self.bench
    }

    pub(crate) fn steps(&self) -> usize {
        if self.quick() { 2 } else { self.steps }
    }

    /// The seeds of the table; the seed before them chooses the learning rates.
    pub(crate) fn seeds(&self) -> impl Iterator<Item = u64> {
        1..=self.seeds
    }

    pub(crate) fn grid(&self) -> &[f64] {
        if self.quick() {
            &self.grid[..1]
        } else {
            &self.grid
        }
    }

    pub(crate) fn wants_task(&self, name: &str) -> bool {
        selects(&self.task, name)
    }

    pub(crate) fn wants_optimizer(&self, name: &str) -> bool {
        selects(&self.only, name)
    }
}

fn selects(wanted: &[String], name: &str) -> bool {
    let name = name.to_lowercase();
    wanted.is_empty()
        || wanted
            .iter()
            .any(|wanted| name.contains(&wanted.to_lowercase()))
}
