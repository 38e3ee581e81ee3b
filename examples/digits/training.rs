//! The training loop.

use std::error::Error;
use std::time::Instant;

use burn::lr_scheduler::LrScheduler;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::{AutodiffModule, Module};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::ElementConversion;
use burn::tensor::backend::{AutodiffBackend, Backend};
use indicatif::{ProgressBar, ProgressStyle};
use mac_burn_examples::accuracy::correct;
use mac_burn_examples::digits::DigitsDataset;
use mac_burn_models::LeNet;

use crate::args::Args;
use crate::loader::{self, Loader};
use crate::tally::Tally;

const PROGRESS: &str = "{bar:40} {pos}/{len} steps, {per_sec}, {eta} left";

/// Trains for the epochs that `args` asks for, and prints a line after each.
///
/// # Errors
/// If the loss of an epoch is not finite.
pub(crate) fn train<B, O>(
    mut model: LeNet<B>,
    mut optimizer: O,
    args: &Args,
) -> Result<(LeNet<B>, O), Box<dyn Error>>
where
    B: AutodiffBackend,
    O: Optimizer<LeNet<B>, B>,
{
    let device = &model.devices()[0];
    let train_loader = loader::shuffled(args, device);
    let test_loader = loader::in_order(DigitsDataset::test(), args, device);
    let cross_entropy = CrossEntropyLossConfig::new().init(device);
    let steps = args.epochs * train_loader.num_items().div_ceil(args.batch_size);
    let mut schedule = CosineAnnealingLrSchedulerConfig::new(args.lr(), steps).init()?;
    let bar = ProgressBar::new(steps as u64).with_style(ProgressStyle::with_template(PROGRESS)?);
    println!("epoch      loss     train      test      time");

    for epoch in 1..=args.epochs {
        let start = Instant::now();
        let mut tally = Tally::new(device);
        for batch in train_loader.iter() {
            let logits = model.forward(batch.images);
            let loss = cross_entropy.forward(logits.clone(), batch.targets.clone());
            tally = tally.add(loss.clone().inner(), logits.inner(), batch.targets.inner());

            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(schedule.step(), model, grads);
            bar.inc(1);
        }
        let train = tally.score();
        let time = start.elapsed().as_secs_f64();
        if !train.loss.is_finite() {
            return Err(format!(
                "training diverged in epoch {epoch}: --lr {} is too large",
                args.lr()
            )
            .into());
        }

        let test = accuracy(&model.valid(), &test_loader);
        bar.suspend(|| {
            println!(
                "{epoch:>5}  {:>8.4}  {:>6.2} %  {test:>6.2} %  {time:>6.2} s",
                train.loss, train.accuracy
            )
        });
    }
    bar.finish_and_clear();
    Ok((model, optimizer))
}

/// The share, in percent, of the items of `loader` that the network classifies correctly.
fn accuracy<B: Backend>(model: &LeNet<B>, loader: &Loader<B>) -> f64 {
    let right: u64 = loader
        .iter()
        .map(|batch| correct(model.forward(batch.images), batch.targets))
        .map(|right| right.into_scalar().elem::<u64>())
        .sum();
    100.0 * right as f64 / loader.num_items() as f64
}
