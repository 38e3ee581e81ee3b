//! Trains a LeNet on handwritten digits with MAC, and with SGD or AdamW to compare:
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --optimizer sgd
//! cargo run --release --example digits -- --help
//! ```
//!
//! The data are compiled in. The loop is written out, in `training.rs`; it does not differ between the optimizers.
//! What MAC adds is here: the curvature of the first layer, measured before training, and the report at the end.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod loader;
mod tally;
mod training;

use std::error::Error;
use std::process::ExitCode;

use burn::module::Module;
use burn::tensor::backend::Backend;
use env_logger::Env;
use mac_burn::InputCovariance;
use mac_burn_examples::backend::{Selected, Training, describe};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::digits::{self, DigitsDataset};
use mac_burn_examples::exit;
use mac_burn_examples::no_device;
use mac_burn_examples::optimizer_choice::OptimizerChoice;
use mac_burn_models::{LeNet, LeNetConfig};

use args::Args;
use training::train;

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    no_device::probe::<Selected>(&device)?;
    println!("backend: {}", describe::<Selected>(&device));
    Training::seed(&device, args.seed);

    let model: LeNet<Training> = LeNetConfig::new([digits::SIZE, digits::SIZE])
        .with_num_classes(digits::CLASSES)
        .with_channels([32, 64])
        .init(&device);
    println!(
        "network: LeNet with {} parameters, {} from seed {}",
        model.num_params(),
        args.optimizer,
        args.seed
    );

    let model = args.optimizer.prepare(model);
    match args.optimizer {
        OptimizerChoice::Mac => {
            let mut optimizer = args.mac_config().try_init()?;
            if !args.mac.no_input_covariance {
                let covariance = input_covariance(&model, args);
                optimizer = optimizer.with_input_covariance(&covariance)?;
            }
            let (model, optimizer) = train(model, optimizer, args)?;
            println!("{}", optimizer.report(&model));
        }
        OptimizerChoice::Sgd => {
            train(model, args.sgd_config().init(), args)?;
        }
        OptimizerChoice::Adamw => {
            train(model, args.adamw_config().init(), args)?;
        }
    }
    Ok(())
}

/// Measures the curvature of the first layer over the training set: its input never changes, so once is enough.
fn input_covariance<B: Backend>(model: &LeNet<B>, args: &Args) -> InputCovariance<B> {
    let mut covariance = InputCovariance::of(&model.conv1);
    for batch in loader::in_order(DigitsDataset::train(), args, &model.devices()[0]).iter() {
        covariance.update(batch.images);
    }
    covariance
}
