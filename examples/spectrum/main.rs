//! Measures how well a mean stands for the inputs of each layer, and how far the gradients at its outputs are from having no direction, at
//! the beginning, in the middle and at the end of a training:
//!
//! ```text
//! cargo run --release --example spectrum -- --task vit-digits
//! cargo run --release --example spectrum -- --task char-gpt --optimizer sgd-adamw --lr 0.3
//! cargo run --release --example spectrum -- --help
//! ```
//!
//! Prints two tables for each of the three, and the report of MAC where it is the optimizer, and leaves spectrum.csv and spectrum.svg, of
//! the inputs, and outputs.csv. [`mac_burn::spectrum`] says how to read them.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod plot;

use std::error::Error;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use clap::Parser;
use env_logger::Env;
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn::Report;
use mac_burn::spectrum::{DAMPING, OutputSpectrum, Spectrum};
use mac_burn_examples::backend::Training;
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::exit;
use mac_burn_examples::interval::at_least_one;
use mac_burn_examples::optimizers::{
    LearningRates, OptimizerArgs, OptimizerChoice, OptimizerDefaults, WithOptimizer,
};
use mac_burn_examples::tasks::{DataArgs, Part, TaskChoice, WithTask};
use mac_burn_examples::training::{Session, Task};

/// Measures the spectra of the second moments of all layers' inputs, and of the gradients at their outputs, while a network is trained.
#[derive(Parser, Debug)]
struct Args {
    /// Task
    #[arg(long, value_enum)]
    task: TaskChoice,

    /// Steps of the training [default: the task's]
    #[arg(long, value_parser = at_least_one())]
    steps: Option<usize>,

    /// Batches that are measured on
    #[arg(long, default_value_t = 4, value_parser = at_least_one())]
    batches: usize,

    /// Random seed, of the initial parameters and of the batches
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Folder of spectrum.csv, outputs.csv and spectrum.svg
    #[arg(long, default_value = "target/spectrum")]
    out: PathBuf,

    /// The data of the training.
    #[command(flatten)]
    data: DataArgs,

    /// The optimizer.
    #[command(flatten)]
    optimizer: OptimizerArgs,
}

impl ChoosesOptimizer for Args {
    fn optimizer(&self) -> OptimizerChoice {
        self.optimizer.choice(&self.optimizer_defaults())
    }

    fn defaults() -> Vec<(&'static str, String)> {
        // Those of any task, but for the rates.
        let defaults = defaults(TaskChoice::Mlp).in_words().into_iter();
        let rate = "that from which the race of the task starts";
        let defaults = defaults.map(|(option, value)| match option {
            "lr" | "auxiliary_lr" => (option, rate.to_string()),
            _ => (option, value),
        });
        defaults.collect()
    }
}

fn defaults(task: TaskChoice) -> OptimizerDefaults {
    let rates = task.rules().lr;
    let lr = LearningRates {
        mac: rates.momentum,
        sgd: rates.momentum,
        adamw: rates.adamw,
    };
    OptimizerDefaults {
        warmup: 30,
        auxiliary_lr: rates.auxiliary,
        ..OptimizerDefaults::transformer(lr)
    }
}

impl Args {
    fn optimizer_defaults(&self) -> OptimizerDefaults {
        defaults(self.task)
    }

    fn steps(&self) -> usize {
        let steps = if self.data.quick {
            4
        } else {
            self.task.rules().steps
        };
        self.steps.unwrap_or(steps)
    }
}

/// A measurement, and the steps that were taken before it.
struct Measured {
    step: usize,
    spectrum: Spectrum,
    outputs: OutputSpectrum,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let (task, optimizer) = (args.task, args.optimizer());
    println!(
        "{}, {optimizer}, {} steps",
        task.rules().network,
        args.steps()
    );
    let measurement = Measurement(args);
    let (measured, report) = task.with(Part::Validation, args.seed, &args.data, measurement)?;
    for Measured {
        step,
        spectrum,
        outputs,
    } in &measured
    {
        println!("\nafter {step} steps\n{spectrum}\n\n{outputs}");
    }
    if let Some(report) = report {
        println!("\n{report}");
    }
    fs::create_dir_all(&args.out)?;
    let [inputs, outputs, picture] =
        ["spectrum.csv", "outputs.csv", "spectrum.svg"].map(|name| args.out.join(name));
    write_inputs(&measured, csv::Writer::from_path(&inputs)?)?;
    write_outputs(&measured, csv::Writer::from_path(&outputs)?)?;
    plot::draw(&task.name(), &measured, &picture)?;
    let files = [inputs, outputs, picture].map(|file| file.display().to_string());
    println!("\n{}", files.join(", "));
    Ok(())
}

/// Eigenvalues as one field.
fn joined(eigenvalues: &[f64]) -> String {
    let eigenvalues = eigenvalues.iter().map(|value| format!("{value:.6e}"));
    eigenvalues.collect::<Vec<_>>().join(" ")
}

/// A line for the inputs of each layer of each measurement, with their eigenvalues in the last field.
fn write_inputs<W: std::io::Write>(
    measured: &[Measured],
    mut csv: csv::Writer<W>,
) -> Result<(), Box<dyn Error>> {
    csv.write_record([
        "step",
        "layer",
        "inputs",
        "size",
        "rows",
        "first_share",
        "gap",
        "alignment",
        "mean_share",
        "attention_share",
        "eigenvalues",
    ])?;
    for Measured { step, spectrum, .. } in measured {
        for layer in &spectrum.layers {
            csv.serialize((
                step,
                &layer.path,
                layer.part.to_string(),
                layer.size,
                layer.rows,
                layer.first_share(),
                layer.gap(),
                layer.alignment,
                layer.mean_share,
                layer.attention_share,
                joined(&layer.eigenvalues),
            ))?;
        }
    }
    csv.flush()?;
    Ok(())
}

/// The same for the gradients at the outputs.
fn write_outputs<W: std::io::Write>(
    measured: &[Measured],
    mut csv: csv::Writer<W>,
) -> Result<(), Box<dyn Error>> {
    csv.write_record([
        "step",
        "layer",
        "outputs",
        "size",
        "rows",
        "rank",
        "condition",
        "condition_of_range",
        "cosine",
        "damped_cosine",
        "eigenvalues",
    ])?;
    for Measured { step, outputs, .. } in measured {
        for layer in &outputs.layers {
            csv.serialize((
                step,
                &layer.path,
                layer.part.to_string(),
                layer.size,
                layer.rows,
                layer.rank(),
                layer.condition(),
                layer.condition_of_range(),
                layer.cosine(0.0),
                layer.cosine(DAMPING),
                joined(&layer.eigenvalues),
            ))?;
        }
    }
    csv.flush()?;
    Ok(())
}

/// Trains and measures.
struct Measurement<'a>(&'a Args);

impl WithTask for Measurement<'_> {
    type Output = (Vec<Measured>, Option<Report>);

    fn run<T: Task<Training>>(
        self,
        task: &T,
        model: T::Model,
    ) -> Result<Self::Output, Box<dyn Error>> {
        let args = self.0;
        let defaults = args.optimizer_defaults();
        let plan = args
            .optimizer
            .plan(&defaults)
            .with_gradient_scale(args.task.gradient_scale())
            .with_head(args.task.rules().head.to_string());
        let covariance = match plan.needs_input_covariance() {
            true => task.input_covariance(&model)?,
            false => None,
        };
        let mut measured = Vec::new();
        let training = MeasuredTraining {
            args,
            task,
            measured: &mut measured,
        };
        let (_, report) = plan.train(model, covariance, training)?;
        Ok((measured, report))
    }
}

/// A training that is measured three times.
struct MeasuredTraining<'a, T> {
    args: &'a Args,
    task: &'a T,
    measured: &'a mut Vec<Measured>,
}

impl<M, T> WithOptimizer<Training, M> for MeasuredTraining<'_, T>
where
    M: AutodiffModule<Training>,
    T: Task<Training, Model = M>,
{
    fn run<O: Optimizer<M, Training> + 'static>(
        self,
        model: M,
        optimizer: O,
    ) -> Result<(M, O), Box<dyn Error>> {
        let (args, task, steps) = (self.args, self.task, self.args.steps());
        let schedule = args.optimizer.schedule(&args.optimizer_defaults(), steps);
        let bar = ProgressBar::new(steps as u64);
        let bar = bar.with_style(ProgressStyle::with_template(
            "{bar:40} {pos}/{len} steps, {eta} left",
        )?);
        let mut session = Session::new(task, model, optimizer, schedule);
        loop {
            if [0, steps / 2, steps].contains(&session.step) {
                // Steps that are not trained on: their batches are others.
                let batches = steps + 1..=steps + args.batches;
                let (spectrum, outputs) = measure(task, &session.model, batches)?;
                self.measured.push(Measured {
                    step: session.step,
                    spectrum,
                    outputs,
                });
            }
            if session.step == steps {
                break;
            }
            (session, _) = session.advance()?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok((session.model, session.optimizer))
    }
}

/// Measures both sides of all layers in the batches of these steps.
fn measure<M, T>(
    task: &T,
    model: &M,
    mut batches: RangeInclusive<usize>,
) -> Result<(Spectrum, OutputSpectrum), Box<dyn Error>>
where
    M: AutodiffModule<Training>,
    T: Task<Training, Model = M>,
{
    let mut inputs = Spectrum { layers: Vec::new() };
    let mut passed = Ok(());
    let outputs = OutputSpectrum::of(model, |model| {
        let mut grads = GradientsAccumulator::new();
        inputs = Spectrum::of(model, |model| {
            passed = batches.try_for_each(|step| {
                let loss = task.loss(model, step)?;
                let of_batch = GradientsParams::from_grads(loss.backward(), model);
                grads.accumulate(model, of_batch);
                Ok(())
            });
        });
        grads.grads()
    });
    passed.map(|()| (inputs, outputs))
}
