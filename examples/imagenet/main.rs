//! Trains ResNets, vision transformers and Swin Transformers with MAC on images in folders, as ImageNet, in burn-train's
//! `Learner`, with the settings that the authors of MAC give for their paper, but for automatic augmentation, random erasing,
//! repeated augmentation and half precision, and two smaller things below:
//!
//! ```text
//! cargo run --release --example imagenet -- ROOT
//! cargo run --release --example imagenet -- ROOT --model deit-small --batch-size 256
//! cargo run --release --example imagenet -- ROOT --model swin-tiny --optimizer adamw
//! cargo run --release --example imagenet -- ROOT --model resnet101 --epochs 200
//! cargo run --release --example imagenet -- ROOT --model resnet18 --image-size 64 --steps 100
//! cargo run --release --example imagenet -- --help
//! ```
//!
//! The images are in `ROOT/train/CLASS/` and `ROOT/val/CLASS/`, and `--data-dir ROOT` is the same; they are read and changed
//! by threads as they are needed. A run leaves a checkpoint after each epoch; with `--resume EPOCH`, otherwise the same
//! options, and images of the same names it continues, and ends with the parameters that it would have had without the
//! interruption. It leaves the average of the parameters, where one is kept, in `ema.mpk`.
//!
//! With `--optimizer sgd` or `adamw` the same parameters have weight decay as with MAC: for ResNets all but those of norms, for
//! transformers all but those of rank 1, class token and positions. SGD's is a part of the gradient, as PyTorch's is, and not
//! decoupled as MAC's; for transformers its momentum is Nesterov's, as timm's is.
//!
//! What the authors' recipes have and this one has not:
//! - automatic augmentation and random erasing;
//! - repeated augmentation, which has an image several times in a batch, each time changed in another way;
//! - half precision for the transformers;
//! - bicubic resizing for the transformers;
//! - a warm-up from more than 0.
//!
//! What is done in another way:
//! - the covariance of the first layer is measured over 8192 images of all classes, theirs over the whole training set;
//! - the learning rate changes with each step, theirs with each epoch;
//! - a batch is on one device, so that its batch norms see all 1024 images, theirs the 256 of each of four devices;
//! - images are mixed with those at the other end of the batch, as in timm; torchvision takes the one beside;
//! - the average of the parameters moves with each step, torchvision's every 32 steps by as much; its decay depends on the
//!   number of steps, which on ImageNet is what torchvision has. Both copy the network until the warm-up is over;
//! - that average is validated once, at the end of the run, torchvision's after each epoch as the network is.
//!
//! The cosine of the learning rate is the recipes': torchvision's begins after the warm-up, and timm's, for the transformers,
//! with the first step, of which the warm-up covers the beginning.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod image_loaders;
mod launch;
mod model_choice;
mod recipe;
mod run_config;
#[cfg(test)]
mod tests;
mod training;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::exit;
use mac_burn_examples::learner::PlainRenderer;

use args::Args;

fn main() -> ExitCode {
    let renderer = (!stdout().is_terminal()).then(|| PlainRenderer::new(stdout()));
    exit::explained(training::run(&Args::read(), renderer).map(drop))
}
