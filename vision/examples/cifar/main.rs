//! Trains the networks of the MAC paper by the authors' recipe for CIFAR, in burn-train's `Learner`:
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
//! - an epoch has all images, 391 steps of 128, and so has validation; their loaders for CIFAR-10 drop in some versions what
//!   does not fill a batch, which makes 390 steps, and 9984 of the 10 000 test images.
//!
//! A run leaves a checkpoint after each epoch; with `--resume EPOCH` and otherwise the same options it continues, and
//! ends with the parameters that it would have had without the interruption.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod dataset_choice;
mod images;
mod model_choice;
mod optimizer_config;
mod run_config;
#[cfg(test)]
mod tests;
mod training;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::exit;
use mac_burn_vision::learner::PlainRenderer;

use args::Args;

fn main() -> ExitCode {
    let renderer = (!stdout().is_terminal()).then(|| PlainRenderer::new(stdout()));
    exit::explained(training::run(&Args::read(), renderer))
}
