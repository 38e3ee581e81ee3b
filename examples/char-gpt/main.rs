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
use mac_burn::GradientScale;
use mac_burn_examples::backend::{self, Training};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::exit;
use mac_burn_examples::tasks::{HAMLET, TextModel};
use mac_burn_examples::training::{Progress, Run};

use args::{Args, RunConfig};
use writer::Writer;

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = backend::device()?;
    Training::seed(&device, args.run.seed);

    let text = match &args.text {
        Some(file) => fs::read_to_string(file)
            .map_err(|error| format!("--text {}: {error}", file.display()))?,
        None => HAMLET.to_string(),
    };
    let (course, seed) = (args.course(), args.run.seed);
    let (context_size, batch_size) = (args.context_size, course.batch_size);
    let task = TextModel::<Training>::new(&text, context_size, batch_size, seed, &device)?;
    // Before the training, which a wrong prompt would be the end of otherwise.
    let prompt = match args.generate {
        0 => None,
        _ => Some(args.prompt(&text, &task.characters)?),
    };
    let characters = task.characters.count();
    let config = args.network(characters)?;
    let model = config.init::<Training>(&device);
    let defaults = args.optimizer_defaults();
    let plan = args.optimizer.plan(&defaults);
    // The loss is a mean over all characters.
    let plan = plan.with_gradient_scale(GradientScale::MeanLossOverRows);
    let run = Run {
        task: &task,
        plan: &plan,
        schedule: args.optimizer.schedule(&defaults, course.steps),
        average: None,
        config: RunConfig::new(&text, config),
        course: &course,
        args: &args.run,
        tell: |progress| println!("{}", line(progress)),
    };
    println!(
        "text: {} characters, {characters} different",
        text.chars().count()
    );
    println!("{}", run.describe("GPT", model.num_params()));
    println!("  step  train nats  val nats  val bits/char      time");
    let trained = run.train::<Training>(model)?;
    if let Some(report) = trained.report {
        println!("{report}");
    }
    if let Some(prompt) = prompt {
        let writer = Writer {
            model: trained.model.valid(),
            context_size,
            temperature: args.temperature,
        };
        let written = writer.write(prompt, args.generate, seed)?;
        println!("{}", task.characters.decode(&written));
    }
    Ok(())
}

fn line(progress: Progress) -> String {
    format!(
        "{:>6}  {:>10}  {:>8.4}  {:>13.4}  {:>6.1} s",
        progress.step,
        progress.train_text(),
        progress.validation_loss,
        progress.validation_loss / LN_2,
        progress.seconds
    )
}
