//! Trains a LeNet on handwritten digits with MAC, or with K-FAC and its other relatives, SGD or AdamW to compare:
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
use burn::optim::{AdamWConfig, GradientsParams, Optimizer, SgdConfig};
use burn::optim::{decay::WeightDecayConfig, momentum::MomentumConfig};
use burn::{module::AutodiffModule, nn::loss::CrossEntropyLossConfig, prelude::*};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn::{
    EvaConfig, FoofConfig, InputCovariance, KfacConfig, MacConfig, SmacConfig, unrecorded,
};
use mac_burn_examples::backend::{self, Training};
use mac_burn_models::{LeNet, LeNetConfig};
use plotters::prelude::*;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{error::Error, path::PathBuf, process::ExitCode, time::Instant};

const BATCH: usize = 32;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 5e-3;

/// Trains a LeNet on handwritten digits of 8×8 pixels.
#[derive(Parser)]
struct Args {
    /// Optimizer
    #[arg(long, value_enum, default_value_t = Choice::Mac)]
    optimizer: Choice,
    /// Number of epochs
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    epochs: u16,
    /// Learning rate at the start of a cosine schedule, in (0, 1] [default: 0.05; AdamW: 0.003]
    #[arg(long)]
    lr: Option<f64>,
    /// Damping of MAC, SMAC, FOOF, Eva and K-FAC; at inf nothing is preconditioned [default: that of each, 1 or 0.03]
    #[arg(long)]
    damping: Option<f64>,
    /// Random seed, of the initial parameters and of the order of the images
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
    Smac,
    Foof,
    Eva,
    Kfac,
    Sgd,
    Adamw,
}

fn main() -> ExitCode {
    let failed = |error| eprintln!("error: {error}");
    let outcome = run(&Args::parse()).map_err(failed);
    outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = backend::device()?;
    Training::seed(&device, args.seed);
    let config = LeNetConfig::new([8, 8]).with_channels([32, 64]);
    let model: LeNet<Training> = config.init(&device);
    let parameters = model.num_params();
    println!("LeNet, {parameters} parameters, {:?}", args.optimizer);
    // Of a curvature with this damping of its own.
    let settings = |damping| {
        MacConfig::new()
            .with_momentum(MOMENTUM)
            .with_weight_decay(WEIGHT_DECAY)
            .with_damping(args.damping.unwrap_or(damping))
            // Refreshed often: a run of 15 epochs has only 705 steps.
            .with_tinv(5)
    };
    let optimizer = match args.optimizer {
        Choice::Mac => {
            let mut covariance = InputCovariance::of(&model.conv1);
            covariance.update(digits(false).0);
            let mac = settings(MacConfig::new().damping).try_init()?;
            mac.with_input_covariance(&covariance)?
        }
        Choice::Smac => {
            let smac = SmacConfig::new();
            let settings = settings(smac.damping);
            smac.with_settings_of(&settings).try_init()?
        }
        Choice::Foof => {
            let foof = FoofConfig::new();
            let settings = settings(foof.damping);
            foof.with_settings_of(&settings).try_init()?
        }
        Choice::Eva => {
            let eva = EvaConfig::new();
            let settings = settings(eva.damping);
            eva.with_settings_of(&settings).try_init()?
        }
        Choice::Kfac => {
            let kfac = KfacConfig::new();
            let settings = settings(kfac.damping);
            kfac.with_settings_of(&settings).try_init()?
        }
        Choice::Sgd => {
            let momentum = MomentumConfig::new().with_momentum(MOMENTUM);
            let decay = WeightDecayConfig::new(WEIGHT_DECAY as f32);
            let sgd = SgdConfig::new()
                .with_momentum(Some(momentum.with_dampening(0.0)))
                .with_weight_decay(Some(decay));
            train(unrecorded(model), sgd.init(), 0.05, args)?;
            return Ok(());
        }
        Choice::Adamw => {
            // With PyTorch's ε, a thousandth of Burn's.
            let adamw = AdamWConfig::new().with_epsilon(1e-8);
            let adamw = adamw.with_weight_decay(WEIGHT_DECAY as f32);
            train(unrecorded(model), adamw.init(), 0.003, args)?;
            return Ok(());
        }
    };
    let (model, optimizer) = train(model, optimizer, 0.05, args)?;
    println!("{}", optimizer.report(&model));
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
    let template = "{bar:40} {pos}/{len} steps, {per_sec}, {eta} left";
    let bar = ProgressBar::new(steps as u64).with_style(ProgressStyle::with_template(template)?);
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
            let reason = format!("training diverged in epoch {epoch}: --lr {lr} is too large");
            return Err(reason.into());
        }
        let logits = model.valid().forward(test_images.clone().inner());
        let found = logits.argmax(1).squeeze_dim(1);
        let right = found.equal(test_classes.clone().inner());
        let accuracy = 100.0 * right.float().mean().into_scalar().elem::<f64>();
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
        let losses = rows.iter().map(|row| (f64::from(row.0), row.1));
        let largest = losses.clone().map(|(_, loss)| loss).fold(0.0, f64::max);
        let area = SVGBackend::new(file, (640, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area);
        let mut chart = chart
            .set_all_label_area_size(40)
            .build_cartesian_2d(0.0..f64::from(args.epochs), 0.0..largest)?;
        let mut axes = chart.configure_mesh();
        axes.x_desc("epoch").y_desc("train loss").draw()?;
        chart.draw_series(LineSeries::new(losses, &BLUE))?;
        area.present()?;
    }
    Ok((model, optimizer))
}

/// Standardised images `[items, 1, 8, 8]` and their classes `[items]`. Of each class every sixth image is for tests.
fn digits(tests: bool) -> (Tensor<Training, 4>, Tensor<Training, 1, Int>) {
    let (mut seen, mut pixels, mut classes) = ([0; 10], Vec::new(), Vec::new());
    // A line has 64 pixels from 0 to 16 and the class.
    for line in include_str!("../data/digits.csv").lines() {
        let fields = line
            .split(',')
            .map(|field| field.parse().expect("a number"));
        let fields: Vec<f32> = fields.collect();
        let class = fields[64] as usize;
        seen[class] += 1;
        if (seen[class] % 6 == 0) == tests {
            // With the mean and the standard deviation of the images to train on.
            let pixel = |pixel| (pixel - 4.881_141_7) / 6.018_802_5;
            pixels.extend(fields[..64].iter().map(pixel));
            classes.push(class as i32);
        }
    }
    let device = Default::default();
    let images = TensorData::new(pixels, [classes.len(), 1, 8, 8]);
    let classes = Tensor::from_data(&classes[..], &device);
    (Tensor::from_data(images, &device), classes)
}
