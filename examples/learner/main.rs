//! Trains a LeNet with MAC in burn-train's `Learner`, on MNIST or on digits that are compiled in:
//!
//! ```text
//! cargo run --release --example learner
//! cargo run --release --example learner -- --data digits
//! cargo run --release --example learner -- --help
//! ```
//!
//! A run leaves a checkpoint after each epoch; with `--resume EPOCH` and otherwise the same options it continues, and
//! ends with the parameters that it would have had without the interruption. How network, optimizer and schedule come
//! together, and what makes that so, is in `mac_burn_examples::learner`.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod artifacts;
mod plain_renderer;

use std::error::Error;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::Backend;
use mac_burn_examples::backend::{Selected, Training, describe};
use mac_burn_examples::digits::{DigitsBatcher, DigitsDataset};
use mac_burn_examples::exit;
use mac_burn_examples::image_data::ImageData;
use mac_burn_examples::learner::{Classifier, Loaders, Run};
use mac_burn_examples::mnist;
use mac_burn_examples::no_device;

use args::{Args, DataChoice};
use artifacts::Artifacts;
use plain_renderer::PlainRenderer;

fn main() -> ExitCode {
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    no_device::probe::<Selected>(&device)?;
    println!("backend: {}", describe::<Selected>(&device));
    Training::seed(&device, args.seed);

    let artifacts = Artifacts::new(&args.artifacts, args.config());
    artifacts.check(args.resume)?;
    let run = Run {
        loaders: loaders(args)?,
        config: args.config(),
        artifacts: args.artifacts.clone(),
        resume: args.resume,
    };
    artifacts.write()?;

    train(&run)
}

fn loaders(args: &Args) -> Result<Loaders<Training>, Box<dyn Error>> {
    let (config, done) = (args.config(), args.resume.unwrap_or(0));
    Ok(match args.data {
        DataChoice::Mnist => Loaders::new(mnist::load()?, &config, done, args.workers),
        DataChoice::Digits => {
            let digits = ImageData {
                train: DigitsDataset::train(),
                valid: DigitsDataset::test(),
                batcher: DigitsBatcher,
            };
            Loaders::new(digits, &config, done, args.workers)
        }
    })
}

fn train(run: &Run<Training>) -> Result<(), Box<dyn Error>> {
    let learner = run.learner()?;
    println!(
        "network: LeNet with {} parameters, MAC from seed {}; checkpoints, metrics and log in {}",
        learner.model().num_params(),
        run.config.seed,
        run.artifacts.display()
    );

    let mut training = run.training().summary();
    if !stdout().is_terminal() {
        // On a terminal burn-train shows its dashboard; elsewhere it would print a line for each batch, without metrics.
        training = training.renderer(PlainRenderer::default());
    }
    let interrupter = training.interrupter();
    let result = training.launch(learner);
    // Ends the dashboard: what is printed before is printed on its screen, and is gone with it.
    drop(result.renderer);

    // Burn stops a training whose checkpoint cannot be written, as one that is stopped by its user, without an error.
    if let Some(reason) = interrupter.get_message() {
        return Err(format!("training ended early: {reason}").into());
    }
    let model = Classifier::from_inner(result.model);
    println!("{}", run.report(&model, run.config.epochs)?);
    Ok(())
}
