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

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::module::Module;
use burn::tensor::backend::Backend;
use env_logger::Env;
use mac_burn_examples::backend::{self, Selected, Training};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::digits::{self, DigitsBatcher, DigitsDataset};
use mac_burn_examples::exit;
use mac_burn_examples::image_data::{ImageBatch, ImageData};
use mac_burn_examples::image_folder;
use mac_burn_examples::mnist;
use mac_burn_examples::tasks::ImageClasses;
use mac_burn_examples::training::{Progress, Run};

use args::{Args, DataChoice, Images};

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(exit::LOG_FILTER)).init();
    exit::explained(run(&Args::read()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = backend::device()?;
    Training::seed(&device, args.run.seed);

    if let Some(root) = &args.folder {
        let folder = image_folder::load(root, args.image_size)?;
        if let Some(remark) = &folder.remark {
            println!("warning: {remark}");
        }
        let images = Images {
            size: args.image_size,
            channels: image_folder::CHANNELS,
            classes: folder.classes.len(),
            files: folder.fingerprint,
        };
        return train(args, folder.data, images);
    }
    match args.data {
        DataChoice::Digits => {
            let data = ImageData {
                train: DigitsDataset::train(),
                valid: DigitsDataset::test(),
                batcher: DigitsBatcher,
            };
            train(args, data, Images::grey(digits::SIZE, digits::CLASSES))
        }
        DataChoice::Mnist => train(
            args,
            mnist::load()?,
            Images::grey(mnist::SIZE, mnist::CLASSES),
        ),
    }
}

fn train<I, D, Bt>(
    args: &Args,
    data: ImageData<D, Bt>,
    images: Images,
) -> Result<(), Box<dyn Error>>
where
    D: Dataset<I>,
    Bt: Batcher<Training, I, ImageBatch<Training>> + Batcher<Selected, I, ImageBatch<Selected>>,
{
    let device = Default::default();
    let (course, seed) = (args.course(), args.run.seed);
    let sides @ [train, valid] = [data.train.len(), data.valid.len()];
    let task = ImageClasses::<Training, I, D, Bt>::new(data, course.batch_size, seed, &device);
    let network = args.network(images)?;
    let model = network.init::<Training>(&device);
    let defaults = args.optimizer_defaults();
    let plan = args.optimizer.plan(&defaults);
    let run = Run {
        task: &task,
        plan: &plan,
        schedule: args.optimizer.schedule(&defaults, course.steps),
        average: None,
        config: args.config(network, images, sides),
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
