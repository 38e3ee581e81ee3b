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

use std::error::Error;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use burn::module::Module;
use burn::tensor::backend::Backend;
use mac_burn_examples::backend::{Selected, Training, describe};
use mac_burn_examples::digits::{DigitsBatcher, DigitsDataset};
use mac_burn_examples::exit;
use mac_burn_examples::image_data::ImageData;
use mac_burn_examples::learner::{Artifacts, Classifier, Loaders, PlainRenderer, Run};
use mac_burn_examples::mnist;
use mac_burn_examples::no_device;

use args::{Args, DataChoice, RunConfig};

fn main() -> ExitCode {
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    no_device::probe::<Selected>(&device)?;
    println!("backend: {}", describe::<Selected>(&device));
    Training::seed(&device, args.seed);

    let config = args.config();
    let artifacts = Artifacts::new(&args.artifacts, config.clone(), config.course.epochs);
    artifacts.check(args.resume)?;
    let run = Run {
        loaders: loaders(args, &config)?,
        course: config.course.clone(),
        artifacts: args.artifacts.clone(),
        resume: args.resume,
    };
    artifacts.write()?;

    train(&run, &config)
}

fn loaders(args: &Args, config: &RunConfig) -> Result<Loaders<Training>, Box<dyn Error>> {
    let (course, done) = (&config.course, args.resume.unwrap_or(0));
    Ok(match args.data {
        DataChoice::Mnist => Loaders::new(mnist::load()?, course, done, args.workers),
        DataChoice::Digits => {
            let digits = ImageData {
                train: DigitsDataset::train(),
                valid: DigitsDataset::test(),
                batcher: DigitsBatcher,
            };
            Loaders::new(digits, course, done, args.workers)
        }
    })
}

fn train(run: &Run<Training>, config: &RunConfig) -> Result<(), Box<dyn Error>> {
    let model = Classifier::new(config.network.init(&Default::default()));
    println!(
        "network: LeNet with {} parameters, MAC from seed {}; checkpoints, metrics and log in {}",
        model.num_params(),
        run.course.seed,
        run.artifacts.display()
    );

    let optimizer = run.mac(&config.mac, &model)?;
    let renderer = (!stdout().is_terminal()).then(|| PlainRenderer::new(stdout()));
    let model = run.train(model, optimizer, renderer)?;
    println!("{}", run.report(&config.mac, &model, run.epochs())?);
    Ok(())
}
