//! Trains the networks of the MAC paper by the authors' recipe for CIFAR:
//!
//! ```text
//! cargo run --release -p mac-burn-vision --example cifar -- --model resnet20
//! cargo run --release -p mac-burn-vision --example cifar -- --model wrn28-10 --dataset cifar100 --optimizer sgd
//! cargo run --release -p mac-burn-vision --example cifar -- --data-dir cifar-10-batches-bin
//! cargo run --release -p mac-burn-vision --example cifar -- --dataset digits --steps 100
//! cargo run --release -p mac-burn-vision --example cifar -- --help
//! ```
//!
//! The recipe: batches of 128; crops of the image in a frame of 4 zeros, and flips; MAC and SGD with a learning rate of
//! 0.1, a momentum of 0.9 and a weight decay of 5e-4, AdamW with 0.001 and 0.5; the learning rate falls along a cosine.
//!
//! Differences from the authors' code:
//! - the learning rate falls with each step, theirs with each epoch;
//! - an epoch has 390 steps of 128, and what does not fill a batch is left out, as in some versions of their loaders, which leave
//!   out 16 of the 10 000 test images too; all are validated on here.
//!
//! A run leaves a checkpoint after each epoch; with `--resume` and otherwise the same options it continues, and
//! ends with the parameters that it would have had without the interruption.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod dataset_choice;
mod model_choice;
#[cfg(test)]
mod tests;
mod training;

use std::process::ExitCode;

use env_logger::Env;
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::exit;

use args::Args;

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    let trained = training::run(&Args::read(), |progress| println!("{progress}"));
    exit::explained(trained.map(drop))
}
