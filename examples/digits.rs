//! Trains a LeNet on handwritten digits with MAC, or with SGD or AdamW to compare:
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --optimizer sgd --csv sgd.csv --plot sgd.svg
//! ```
//!
//! The training loop is Burn's usual one. What MAC adds: recorded layers in the network, the curvature of the first layer,
//! which is measured before training, and the report at the end.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::{LrScheduler, cosine::CosineAnnealingLrSchedulerConfig};
use burn::module::{AutodiffModule, Module};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer, SgdConfig};
use burn::tensor::backend::{Backend, BackendTypes};
use burn::tensor::{ElementConversion, Int, Tensor, TensorData};
use clap::{Parser, ValueEnum, builder::RangedU64ValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn::{InputCovariance, MacConfig, unrecorded};
use mac_burn_examples::backend::{self, Training};
use mac_burn_models::{LeNet, LeNetConfig};
use plotters::prelude::*;
use serde::Serialize;
use std::{error::Error, path::Path, path::PathBuf, sync::Arc, time::Instant};

/// Handwritten digits of 8×8 pixels, a line each: pixels from 0 to 16, then the class.
const DIGITS: &str = include_str!("../data/digits.csv");
const SIZE: usize = 8;
/// Mean and standard deviation of the pixels to train on.
const PIXELS: (f32, f32) = (4.881_141_7, 6.018_802_5);

/// Trains a LeNet on handwritten digits of 8×8 pixels.
#[derive(Parser)]
struct Args {
    /// Optimizer
    #[arg(long, value_enum, default_value_t = Choice::Mac)]
    optimizer: Choice,
    /// Passes over the training set
    #[arg(long, default_value_t = 15, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    epochs: usize,
    /// Images in a batch
    #[arg(long, default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    batch_size: usize,
    /// Learning rate at the start of a cosine schedule, in (0, 1] [default: 0.05, of AdamW 0.003]
    #[arg(long)]
    lr: Option<f64>,
    /// Damping of MAC, 1e-30 or more; at inf it is SGD, but for the first layer
    #[arg(long, default_value_t = MacConfig::new().damping)]
    damping: f64,
    /// Refresh the preconditioner every n steps: often, as a run of the default length has 705
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    tinv: usize,
    /// Seed of the initial parameters and of the order of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write a row for each epoch to this file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the loss of each epoch into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Debug, ValueEnum)]
enum Choice {
    Mac,
    Sgd,
    Adamw,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let device = backend::device()?;
    Training::seed(&device, args.seed);
    let network = LeNetConfig::new([SIZE, SIZE]).with_channels([32, 64]);
    let model: LeNet<Training> = network.init(&device);
    println!(
        "LeNet, {} parameters, {:?}",
        model.num_params(),
        args.optimizer
    );
    let (momentum, decay) = (0.9, 5e-3);
    match args.optimizer {
        Choice::Mac => {
            let mac = MacConfig::new()
                .with_momentum(momentum)
                .with_weight_decay(decay);
            let mac = mac.with_damping(args.damping).with_tinv(args.tinv);
            let mut covariance = InputCovariance::of(&model.conv1);
            for batch in loader(false, None, &args).iter() {
                covariance.update(batch.images);
            }
            let mac = mac.try_init()?.with_input_covariance(&covariance)?;
            let (model, mac) = train(model, mac, 0.05, &args)?;
            println!("{}", mac.report(&model));
        }
        Choice::Sgd => {
            let momentum = MomentumConfig::new()
                .with_momentum(momentum)
                .with_dampening(0.0);
            let decay = WeightDecayConfig::new(decay as f32);
            let sgd = SgdConfig::new()
                .with_momentum(Some(momentum))
                .with_weight_decay(Some(decay));
            train(unrecorded(model), sgd.init(), 0.05, &args)?;
        }
        Choice::Adamw => {
            // With PyTorch's ε, a thousandth of Burn's.
            let adamw = AdamWConfig::new()
                .with_epsilon(1e-8)
                .with_weight_decay(decay as f32);
            train(unrecorded(model), adamw.init(), 0.003, &args)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Epoch {
    epoch: usize,
    train_loss: f64,
    test_accuracy: f64,
    seconds: f64,
}

fn train<O: Optimizer<LeNet<Training>, Training>>(
    mut model: LeNet<Training>,
    mut optimizer: O,
    default_lr: f64,
    args: &Args,
) -> Result<(LeNet<Training>, O), Box<dyn Error>> {
    let device = &model.devices()[0];
    let (images, tests) = (
        loader(false, Some(args.seed), args),
        loader(true, None, args),
    );
    let lr = args.lr.unwrap_or(default_lr);
    let steps = args.epochs * images.num_items().div_ceil(args.batch_size);
    let mut schedule = CosineAnnealingLrSchedulerConfig::new(lr, steps).init()?;
    let cross_entropy = CrossEntropyLossConfig::new().init(device);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(steps as u64).with_style(style);
    let (start, mut epochs) = (Instant::now(), Vec::new());
    println!("epoch  train loss  test accuracy      time");
    for epoch in 1..=args.epochs {
        // On the device: nothing waits for it within an epoch.
        let mut sum = Tensor::zeros([1], device);
        for batch in images.iter() {
            let [size] = batch.targets.dims();
            let loss = cross_entropy.forward(model.forward(batch.images), batch.targets);
            sum = sum + loss.clone().inner() * size as f64;
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(schedule.step(), model, grads);
            bar.inc(1);
        }
        let row = Epoch {
            epoch,
            train_loss: sum.into_scalar().elem::<f64>() / images.num_items() as f64,
            test_accuracy: accuracy(&model, &tests),
            seconds: start.elapsed().as_secs_f64(),
        };
        if !row.train_loss.is_finite() {
            return Err(
                format!("training diverged in epoch {epoch}: --lr {lr} is too large").into(),
            );
        }
        let Epoch {
            train_loss,
            test_accuracy,
            seconds,
            ..
        } = row;
        bar.suspend(|| {
            println!("{epoch:>5}  {train_loss:>10.4}  {test_accuracy:>11.2} %  {seconds:>6.2} s");
        });
        epochs.push(row);
    }
    bar.finish_and_clear();
    if let Some(file) = &args.csv {
        let mut csv = csv::Writer::from_path(file)?;
        epochs.iter().try_for_each(|epoch| csv.serialize(epoch))?;
        csv.flush()?;
    }
    if let Some(file) = &args.plot {
        plot(&epochs, file)?;
    }
    Ok((model, optimizer))
}

/// The percentage of images that the network classifies correctly.
fn accuracy(model: &LeNet<Training>, tests: &Loader) -> f64 {
    let model = model.valid();
    let right = |batch: Batch| {
        let logits = model.forward(batch.images.inner());
        let equal = logits
            .argmax(1)
            .squeeze_dim::<1>(1)
            .equal(batch.targets.inner());
        equal.int().sum().into_scalar().elem::<f64>()
    };
    100.0 * tests.iter().map(right).sum::<f64>() / tests.num_items() as f64
}

fn plot(epochs: &[Epoch], file: &Path) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(file, (640, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let largest = epochs
        .iter()
        .map(|epoch| epoch.train_loss)
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 50)
        .set_label_area_size(LabelAreaPosition::Bottom, 40)
        .build_cartesian_2d(1..epochs.len(), 0.0..largest)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc("train loss")
        .draw()?;
    let losses = epochs.iter().map(|epoch| (epoch.epoch, epoch.train_loss));
    chart.draw_series(LineSeries::new(losses, &BLUE))?;
    Ok(area.present()?)
}

/// Images `[batch_size, 1, 8, 8]` and their classes `[batch_size]`.
#[derive(Clone, Debug)]
struct Batch {
    images: Tensor<Training, 4>,
    targets: Tensor<Training, 1, Int>,
}

type Item = ([f32; SIZE * SIZE], usize);
type Loader = Arc<dyn DataLoader<Training, Batch>>;

/// Of each class every sixth image is for tests. With a seed the images come in a new order in each epoch.
fn loader(tests: bool, seed: Option<u64>, args: &Args) -> Loader {
    let mut seen = [0_usize; 10];
    let items = DIGITS.lines().map(|line| -> Item {
        let mut fields = line
            .split(',')
            .map(|field| field.parse::<u8>().expect("a small number"));
        let pixels = std::array::from_fn(|_| f32::from(fields.next().expect("64 pixels")));
        (pixels, fields.next().expect("a class").into())
    });
    let items = items.filter(|(_, class)| {
        seen[*class] += 1;
        seen[*class].is_multiple_of(6) == tests
    });
    let builder = DataLoaderBuilder::new(Normalize).batch_size(args.batch_size);
    let builder = seed
        .into_iter()
        .fold(builder, |builder, seed| builder.shuffle(seed));
    builder.build(InMemDataset::new(items.collect()))
}

#[derive(Clone)]
struct Normalize;

impl Batcher<Training, Item, Batch> for Normalize {
    fn batch(&self, items: Vec<Item>, device: &<Training as BackendTypes>::Device) -> Batch {
        let (mean, std) = PIXELS;
        let pixels = items
            .iter()
            .flat_map(|(pixels, _)| pixels.map(|pixel| (pixel - mean) / std));
        let shape = [items.len(), 1, SIZE, SIZE];
        let classes: Vec<i64> = items.iter().map(|(_, class)| *class as i64).collect();
        Batch {
            images: Tensor::from_data(TensorData::new(pixels.collect(), shape), device),
            targets: Tensor::from_data(&classes[..], device),
        }
    }
}
