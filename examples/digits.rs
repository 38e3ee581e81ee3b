//! Trains a LeNet on handwritten digits with MAC, or with SGD or AdamW to compare:
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --optimizer sgd --csv sgd.csv --plot sgd.svg
//! ```
//!
//! To use it in a project of your own, put your backend in place of `mac_burn_examples::backend`, and copy `data/digits.csv`.
//! The training loop is Burn's usual one. MAC adds recorded layers in the network, the covariance of the first layer's
//! inputs, which is measured before training, and the report at the end.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

use burn::lr_scheduler::{LrScheduler, cosine::CosineAnnealingLrSchedulerConfig};
use burn::module::{AutodiffModule, Module};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{
    AdamWConfig, GradientsParams, Optimizer, SgdConfig, decay::WeightDecayConfig,
    momentum::MomentumConfig,
};
use burn::tensor::backend::Backend;
use burn::tensor::{ElementConversion, Int, Tensor, TensorData};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn::{InputCovariance, MacConfig, unrecorded};
use mac_burn_examples::backend::{self, Training};
use mac_burn_models::{LeNet, LeNetConfig};
use plotters::prelude::*;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{error::Error, path::Path, path::PathBuf, process::ExitCode, time::Instant};

const BATCH: usize = 32;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 5e-3;

/// Trains a LeNet on handwritten digits of 8×8 pixels.
#[derive(Parser)]
struct Args {
    /// Optimizer
    #[arg(long, value_enum, default_value_t = Choice::Mac)]
    optimizer: Choice,
    /// Passes over the training images
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    epochs: u16,
    /// Learning rate at the start of a cosine schedule, in (0, 1] [default: 0.05, of AdamW 0.003]
    #[arg(long)]
    lr: Option<f64>,
    /// Damping of MAC; at inf nothing is preconditioned
    #[arg(long, default_value_t = MacConfig::new().damping)]
    damping: f64,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    Mac,
    Sgd,
    Adamw,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = backend::device()?;
    Training::seed(&device, args.seed);
    let model: LeNet<Training> = LeNetConfig::new([8, 8])
        .with_channels([32, 64])
        .init(&device);
    println!(
        "LeNet, {} parameters, {:?}",
        model.num_params(),
        args.optimizer
    );
    match args.optimizer {
        Choice::Mac => {
            // Refreshed often: a run of 15 epochs has only 705 steps.
            let config = MacConfig::new()
                .with_momentum(MOMENTUM)
                .with_weight_decay(WEIGHT_DECAY)
                .with_tinv(5);
            let mut covariance = InputCovariance::of(&model.conv1);
            covariance.update(digits(false).0);
            let mac = config
                .with_damping(args.damping)
                .try_init()?
                .with_input_covariance(&covariance)?;
            let (model, mac) = train(model, mac, 0.05, args)?;
            println!("{}", mac.report(&model));
        }
        Choice::Sgd => {
            let momentum = MomentumConfig::new()
                .with_momentum(MOMENTUM)
                .with_dampening(0.0);
            let decay = WeightDecayConfig::new(WEIGHT_DECAY as f32);
            let sgd = SgdConfig::new()
                .with_momentum(Some(momentum))
                .with_weight_decay(Some(decay));
            train(unrecorded(model), sgd.init(), 0.05, args)?;
        }
        Choice::Adamw => {
            // With PyTorch's ε, a thousandth of Burn's.
            let adamw = AdamWConfig::new()
                .with_epsilon(1e-8)
                .with_weight_decay(WEIGHT_DECAY as f32);
            train(unrecorded(model), adamw.init(), 0.003, args)?;
        }
    }
    Ok(())
}

fn train<O: Optimizer<LeNet<Training>, Training>>(
    mut model: LeNet<Training>,
    mut optimizer: O,
    default_lr: f64,
    args: &Args,
) -> Result<(LeNet<Training>, O), Box<dyn Error>> {
    let device = &model.devices()[0];
    let ((images, classes), (test_images, test_classes)) = (digits(false), digits(true));
    let mut order: Vec<i32> = (0..images.dims()[0] as i32).collect();
    let mut rng = StdRng::seed_from_u64(args.seed);
    let steps = usize::from(args.epochs) * order.len().div_ceil(BATCH);
    let lr = args.lr.unwrap_or(default_lr);
    let mut schedule = CosineAnnealingLrSchedulerConfig::new(lr, steps).init()?;
    let cross_entropy = CrossEntropyLossConfig::new().init(device);
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} steps, {per_sec}, {eta} left",
    )?);
    let (start, mut rows) = (Instant::now(), Vec::new());
    println!("epoch  train loss  test accuracy      time");
    for epoch in 1..=args.epochs {
        order.shuffle(&mut rng);
        // The sum stays on the device: nothing waits for it within an epoch.
        let mut sum = Tensor::zeros([1], device);
        for batch in order.chunks(BATCH) {
            let indices = Tensor::<Training, 1, Int>::from_data(batch, device);
            let logits = model.forward(images.clone().select(0, indices.clone()));
            let loss = cross_entropy.forward(logits, classes.clone().select(0, indices));
            sum = sum + loss.clone().inner() * batch.len() as f64;
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(schedule.step(), model, grads);
            bar.inc(1);
        }
        let train_loss = sum.into_scalar().elem::<f64>() / order.len() as f64;
        if !train_loss.is_finite() {
            return Err(
                format!("training diverged in epoch {epoch}: --lr {lr} is too large").into(),
            );
        }
        let found = model
            .valid()
            .forward(test_images.clone().inner())
            .argmax(1)
            .squeeze_dim(1);
        let right = found
            .equal(test_classes.clone().inner())
            .int()
            .sum()
            .into_scalar()
            .elem::<f64>();
        let accuracy = 100.0 * right / test_classes.dims()[0] as f64;
        let seconds = start.elapsed().as_secs_f64();
        bar.suspend(|| {
            println!("{epoch:>5}  {train_loss:>10.4}  {accuracy:>11.2} %  {seconds:>6.2} s")
        });
        rows.push((epoch, train_loss, accuracy, seconds));
    }
    bar.finish_and_clear();
    if let Some(file) = &args.csv {
        let mut csv = csv::Writer::from_path(file)?;
        csv.write_record(["epoch", "train_loss", "test_accuracy", "seconds"])?;
        rows.iter().try_for_each(|row| csv.serialize(row))?;
        csv.flush()?;
    }
    if let Some(file) = &args.plot {
        plot(rows.iter().map(|row| (row.0.into(), row.1)).collect(), file)?;
    }
    Ok((model, optimizer))
}

fn plot(losses: Vec<(i32, f64)>, file: &Path) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(file, (640, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let largest = losses
        .iter()
        .fold(0.0, |largest, (_, loss)| f64::max(largest, *loss));
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(1..losses.len() as i32, 0.0..largest)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc("train loss")
        .draw()?;
    chart.draw_series(LineSeries::new(losses, &BLUE))?;
    Ok(area.present()?)
}

/// Standardised images `[items, 1, 8, 8]` and their classes `[items]`. Of each class every sixth image is for tests.
fn digits(tests: bool) -> (Tensor<Training, 4>, Tensor<Training, 1, Int>) {
    let (mut seen, mut pixels, mut classes) = ([0; 10], Vec::new(), Vec::new());
    // A line has 64 pixels from 0 to 16 and the class.
    for line in include_str!("../data/digits.csv").lines() {
        let fields: Vec<u8> = line
            .split(',')
            .map(|field| field.parse().expect("a number"))
            .collect();
        let (class, image) = fields.split_last().expect("a class");
        seen[usize::from(*class)] += 1;
        if (seen[usize::from(*class)] % 6 == 0) == tests {
            // With the mean and the standard deviation of the images to train on.
            pixels.extend(
                image
                    .iter()
                    .map(|pixel| (f32::from(*pixel) - 4.881_141_7) / 6.018_802_5),
            );
            classes.push(i32::from(*class));
        }
    }
    let device = Default::default();
    let images = TensorData::new(pixels, [classes.len(), 1, 8, 8]);
    (
        Tensor::from_data(images, &device),
        Tensor::from_data(&classes[..], &device),
    )
}
