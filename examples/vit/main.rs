//! Trains a small vision transformer on digits, on MNIST, or on images in folders:
//!
//! ```text
//! cargo run --release --example vit --features images
//! cargo run --release --example vit --features images -- --optimizer adamw
//! cargo run --release --example vit --features images -- --data mnist
//! cargo run --release --example vit --features images -- --folder ROOT
//! cargo run --release --example vit --features images -- --help
//! ```
//!
//! A folder has its images in `ROOT/train/CLASS/` and `ROOT/val/CLASS/`. A checkpoint is stored as training goes on;
//! `--resume` with otherwise the same options continues from it. Losses are printed in nats.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod args;

use std::error::Error;
use std::process::ExitCode;

use burn::module::Module;
use burn::tensor::backend::Backend;
use env_logger::Env;
use mac_burn_examples::backend::{self, Training};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::exit;
use mac_burn_examples::images::{Images, digits, folder, mnist};
use mac_burn_examples::networks::NetworkConfig;
use mac_burn_examples::tasks::ImageClasses;
use mac_burn_examples::training::{Progress, Run};

use args::{Args, DataChoice};

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = backend::device()?;
    Training::seed(&device, args.run.seed);

    let (images, files) = load(args)?;
    let sides @ [train, valid] = [images.train.len(), images.valid.len()];
    let (course, seed) = (args.course(), args.run.seed);
    let task = ImageClasses::<Training>::new(&images, course.batch_size, seed, &device);
    let network = args.network(images.shape)?;
    let model = NetworkConfig::from(network.clone()).init::<Training>(&device);
    let defaults = args.optimizer_defaults();
    let plan = args.optimizer.plan(&defaults);
    let run = Run {
        task: &task,
        plan: &plan,
        schedule: args.optimizer.schedule(&defaults, course.steps),
        average: None,
        config: args.config(network, files, sides),
        course: &course,
        args: &args.run,
        tell: |progress| println!("{progress}"),
    };
    println!("images: {train} to train on, {valid} to validate with");
    println!("{}", run.describe("vision transformer", model.num_params()));
    println!("{}", Progress::HEADER);
    if let Some(report) = run.train::<Training>(model)?.report {
        println!("{report}");
    }
    Ok(())
}

/// The images, with the fingerprint of a folder's files, or 0 for a data set.
fn load(args: &Args) -> Result<(Images, u64), Box<dyn Error>> {
    let Some(root) = &args.folder else {
        return Ok(match args.data {
            DataChoice::Digits => (digits::load(), 0),
            DataChoice::Mnist => (mnist::load()?, 0),
        });
    };
    let folder = folder::load(root, args.image_size)?;
    if let Some(remark) = &folder.remark {
        println!("warning: {remark}");
    }
    Ok((folder.images, folder.fingerprint))
}
