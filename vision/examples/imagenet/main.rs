//! Trains ResNets, vision transformers and Swin Transformers with MAC on images in folders, as ImageNet, with the
//! settings that the authors of MAC give for their paper, but for half precision and what is done in another way below:
//!
//! ```text
//! cargo run --release -p mac-burn-vision --example imagenet -- ROOT
//! cargo run --release -p mac-burn-vision --example imagenet -- ROOT --model deit-small --batch-size 256
//! cargo run --release -p mac-burn-vision --example imagenet -- ROOT --model swin-tiny --optimizer adamw
//! cargo run --release -p mac-burn-vision --example imagenet -- ROOT --model resnet101 --epochs 200
//! cargo run --release -p mac-burn-vision --example imagenet -- ROOT --model resnet18 --image-size 64 --steps 100
//! cargo run --release -p mac-burn-vision --example imagenet -- --help
//! ```
//!
//! The images are in `ROOT/train/CLASS/` and `ROOT/val/CLASS/`, and `--data-dir ROOT` is the same; they are read and changed
//! by threads as they are needed. A run leaves a checkpoint after each epoch; with `--resume`, otherwise the same
//! options, and images of the same names it continues, and ends with the parameters that it would have had without the
//! interruption. It leaves the average of the parameters, where one is kept, in `ema.mpk`.
//!
//! With `--optimizer sgd` or `adamw` the same parameters have weight decay as with MAC: for ResNets all but those of norms, for
//! transformers all but those of rank 1, class token and positions. SGD's is a part of the gradient, as PyTorch's is, and not
//! decoupled as MAC's; for transformers its momentum is Nesterov's, as timm's is.
//!
//! Training images are cropped, flipped and changed automatically, and a part of some is erased; then the batch is mixed. Each
//! comes several times in a row, every time changed in another way, and an epoch has as many images as without that.
//!
//! Missing from the authors' recipes: half precision (`--amp`) for the transformers.
//!
//! Differences:
//! - the covariance of the first layer is measured over 8192 different images of all classes that are not mixed, theirs over an
//!   epoch of what is trained on, with repeats and mixed;
//! - the learning rate changes with each step, theirs with each epoch;
//! - a batch is on one device, so that its batch norms see all 1024 images, four changes of each of 256; theirs see one change
//!   of each of these on each of four devices;
//! - an epoch has as many images as the training set, but for what does not fill a batch; theirs is cut to a multiple of 256;
//! - a part of an image is erased before the batch is mixed, as in torchvision; timm, for the transformers, erases afterwards;
//! - images are mixed with those at the other end of the batch, as in timm; torchvision takes the one beside. Two repeats of
//!   an image can meet in the middle of a batch, theirs cannot, being on different devices;
//! - validation images are cropped and then resized, so that nothing around the crop is seen at its border; theirs are resized
//!   first;
//! - the average of the parameters moves with each step, torchvision's every 32 steps by as much; its decay depends on the
//!   number of steps, which on ImageNet is what torchvision has. Both copy the network until the warm-up is over;
//! - that average is validated once, at the end of the run, torchvision's after each epoch as the network is.
//!
//! The cosine of the learning rate is the recipes': torchvision's begins after the warm-up, and timm's, for the transformers,
//! with the first step, of which the warm-up covers the beginning.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;
mod automatic_choice;
mod model_choice;
mod recipe;
mod run_config;
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
