//! Trains a GPT on the characters of a text, *Hamlet* by default, and lets it write:
//!
//! ```text
//! cargo run --release --example char-gpt
//! cargo run --release --example char-gpt -- --optimizer adamw --generate 500
//! cargo run --release --example char-gpt -- --text FILE
//! cargo run --release --example char-gpt -- --help
//! ```
//!
//! With MAC, the layers of the blocks are preconditioned, and AdamW takes the embeddings and norms. A checkpoint is
//! stored as training goes on; `--resume` with otherwise the same options continues from it. Losses are printed in nats a
//! character, that of validation in bits too.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod writer;

use std::error::Error;
use std::f64::consts::LN_2;
use std::fs;
use std::process::ExitCode;

use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::Backend;
use env_logger::Env;
use mac_burn_examples::backend::{Selected, Training, describe};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::exit;
use mac_burn_examples::no_device;
use mac_burn_examples::tasks::{HAMLET, TextModel};
use mac_burn_examples::training::{LearningRates, Progress, Run};

use args::Args;
use writer::Writer;

/// Where the command line gives none; `cargo bench --bench learning` compares others.
const RATES: LearningRates = LearningRates {
    mac: 1.0,
    sgd: 0.3,
    adamw: 3e-3,
};

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    no_device::probe::<Selected>(&device)?;
    println!("backend: {}", describe::<Selected>(&device));
    Training::seed(&device, args.run.seed);

    let text = match &args.text {
        Some(file) => fs::read_to_string(file)
            .map_err(|error| format!("--text {}: {error}", file.display()))?,
        None => HAMLET.to_string(),
    };
    let task = TextModel::<Training>::new(
        &text,
        args.context_size,
        args.run.batch_size,
        args.run.seed,
        &device,
    )?;
    // Before the training, which a wrong prompt would be the end of otherwise.
    let prompt = match args.generate {
        0 => None,
        _ => Some(args.prompt(&text, &task.characters)?),
    };
    let config = args.network(task.characters.count())?;
    let model = config.init::<Training>(&device);
    println!(
        "network: GPT with {} parameters for {} characters; {} with learning rate {} from seed {}",
        model.num_params(),
        task.characters.count(),
        args.optimizer.optimizer,
        args.optimizer.lr(RATES),
        args.run.seed
    );
    println!("checkpoints: {}", args.artifacts.display());
    println!("  step  train nats  val nats  val bits/char      time");

    let run = Run {
        task: &task,
        args: &args.run,
        optimizer: &args.optimizer,
        rates: RATES,
        options: args.lines(&text),
        artifacts: args.artifacts.clone(),
        tell: |progress| println!("{}", line(progress)),
    };
    let (model, report) = run.train::<Training>(model)?;
    if let Some(report) = report {
        println!("{report}");
    }
    if let Some(prompt) = prompt {
        let writer = Writer {
            model: model.valid(),
            context_size: args.context_size,
            temperature: args.temperature,
        };
        let written = writer.write(prompt, args.generate, args.run.seed)?;
        println!("{}", task.characters.decode(&written));
    }
    Ok(())
}

fn line(progress: Progress) -> String {
    let train = progress.train_loss.map(|loss| format!("{loss:.4}"));
    format!(
        "{:>6}  {:>10}  {:>8.4}  {:>13.4}  {:>6.1} s",
        progress.step,
        train.unwrap_or_default(),
        progress.validation_loss,
        progress.validation_loss / LN_2,
        progress.seconds
    )
}
