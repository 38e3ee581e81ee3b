//! Trains a LeNet on handwritten digits in Burn's `Learner`, with MAC in place of AdamW:
//!
//! ```text
//! cargo run --release --example learner --features learner
//! cargo run --release --example learner --features learner -- --resume --epochs 20
//! ```
//!
//! To use it in a project of your own, put your backend in place of `mac_burn_examples::backend`, and copy `data/digits.csv`.
//!
//! Burn stores checkpoints of the network, the optimizer and the schedule after every epoch, and keeps the last two and
//! the best. A resumed run continues with them; the images come in another order than in a run that was not interrupted, as
//! Burn's loader begins its shuffling anew. The `Learner` keeps the optimizer, so MAC's report is made from the checkpoint.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

use burn::data::{
    dataloader::DataLoaderBuilder, dataloader::batcher::Batcher, dataset::InMemDataset,
};
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder, Recorder};
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};
use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use burn::train::{EarlyStoppingStrategy, Interrupter, Learner, SupervisedTraining};
use burn::{module::AutodiffModule, nn::loss::CrossEntropyLossConfig, prelude::*};
use clap::Parser;
use mac_burn::{InputCovariance, MacConfig, MacRecord};
use mac_burn_examples::backend::{self, Training};
use mac_burn_models::{LeNet, LeNetConfig};
use std::{error::Error, path::PathBuf, process::ExitCode};

const BATCH: usize = 64;

/// Trains a LeNet on handwritten digits of 8×8 pixels in Burn's Learner, with MAC.
#[derive(Parser)]
struct Args {
    /// Number of epochs
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    epochs: u16,
    /// Learning rate at the start of a cosine schedule, in (0, 1]
    #[arg(long, default_value_t = 0.05)]
    lr: f64,
    /// Random seed, of the initial parameters and of the order of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of checkpoints, metrics and the log
    #[arg(long, default_value = "target/learner")]
    artifacts: PathBuf,
    /// Continue from the last checkpoint among the artifacts
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    let failed = |error| eprintln!("error: {error}");
    let outcome = run(&Args::parse()).map_err(failed);
    outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = backend::device()?;
    Training::seed(&device, args.seed);
    let folder = args.artifacts.join("checkpoint");
    let checkpoint = |part: &str, epoch: u16| folder.join(format!("{part}-{epoch}.mpk"));
    // Burn writes three files, one after the other.
    let parts = ["model", "optim", "scheduler"];
    let whole = |epoch: &u16| parts.iter().all(|part| checkpoint(part, *epoch).is_file());
    let resumed = (1..args.epochs).rev().filter(|_| args.resume).find(whole);
    if args.resume && resumed.is_none() {
        let (folder, epochs) = (args.artifacts.display(), args.epochs);
        return Err(format!("--resume: {folder} has no checkpoint before epoch {epochs}").into());
    }

    if folder.exists() && !args.resume {
        let folder = args.artifacts.display();
        return Err(format!(
            "{folder} has a run: continue it with --resume, or choose other --artifacts"
        )
        .into());
    }

    let network = LeNetConfig::new([8, 8]).init(&device);
    let model = Classifier::<Training> { network };
    let loader = DataLoaderBuilder::new(Digits).batch_size(BATCH);
    let train = loader.shuffle(args.seed).build(digits(false));
    let valid = DataLoaderBuilder::new(Digits)
        .batch_size(BATCH)
        .build(digits(true));
    let steps = usize::from(args.epochs) * train.num_items().div_ceil(BATCH);
    let schedule = CosineAnnealingLrSchedulerConfig::new(args.lr, steps).init()?;
    let config = MacConfig::new().with_weight_decay(5e-4).with_tinv(5);
    let mut optimizer = config.init();
    // A checkpoint of the optimizer has the covariance.
    if resumed.is_none() {
        let mut covariance = InputCovariance::of(&model.network.conv1);
        for batch in train.iter() {
            covariance.update(batch.images);
        }
        optimizer = optimizer.with_input_covariance(&covariance)?;
    }

    let interrupter = Interrupter::new();
    let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    let mut training = SupervisedTraining::new(&args.artifacts, train, valid)
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .with_file_checkpointer(recorder.clone())
        .with_interrupter(interrupter.clone())
        .early_stopping(StopWhenDiverged(interrupter.clone()))
        .num_epochs(args.epochs.into())
        .summary();
    if let Some(epoch) = resumed {
        training = training.checkpoint(epoch.into());
    }
    let result = training.launch(Learner::new(model, optimizer, schedule));
    // The dashboard has a screen of its own until it is dropped.
    drop(result.renderer);
    if let Some(reason) = interrupter.get_message() {
        return Err(format!("training ended early: {reason}").into());
    }

    let model = Classifier::<Training>::from_inner(result.model);
    let record: MacRecord<Training> = recorder.load(checkpoint("optim", args.epochs), &device)?;
    println!("{}", record.report(&config, &model)?);
    Ok(())
}

/// Stops a training after an epoch whose mean loss is not finite, and gives the reason to its interrupter.
#[derive(Clone)]
struct StopWhenDiverged(Interrupter);

impl EarlyStoppingStrategy for StopWhenDiverged {
    fn should_stop(&mut self, epoch: usize, store: &EventStoreClient) -> bool {
        let loss = store.find_metric("Loss", epoch, Aggregate::Mean, &Split::Train);
        let diverged = loss.is_some_and(|loss| !loss.is_finite());
        if diverged {
            self.0
                .stop(Some("the loss is not finite; try a smaller --lr"));
        }
        diverged
    }
}

#[derive(Module, Debug)]
struct Classifier<B: Backend> {
    network: LeNet<B>,
}

impl<B: AutodiffBackend> TrainStep for Classifier<B> {
    type Input = Batch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: Batch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let output = InferenceStep::step(self, batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Classifier<B> {
    type Input = Batch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: Batch<B>) -> ClassificationOutput<B> {
        let cross_entropy = CrossEntropyLossConfig::new().init(&batch.classes.device());
        let logits = self.network.forward(batch.images);
        let loss = cross_entropy.forward(logits.clone(), batch.classes.clone());
        ClassificationOutput::new(loss, logits, batch.classes)
    }
}

/// Standardised images `[items, 1, 8, 8]` and their classes `[items]`.
#[derive(Clone, Debug)]
struct Batch<B: Backend> {
    images: Tensor<B, 4>,
    classes: Tensor<B, 1, Int>,
}

/// Sixty-four pixels from 0 to 16, and the class.
type Digit = Vec<f32>;

#[derive(Clone)]
struct Digits;

impl<B: Backend> Batcher<B, Digit, Batch<B>> for Digits {
    fn batch(&self, items: Vec<Digit>, device: &B::Device) -> Batch<B> {
        let pixels = items.iter().flat_map(|digit| &digit[..64]);
        // With the mean and the standard deviation of the images to train on.
        let pixels = pixels.map(|pixel| (pixel - 4.881_141_7) / 6.018_802_5);
        let images = TensorData::new(pixels.collect(), [items.len(), 1, 8, 8]);
        let classes: Vec<i32> = items.iter().map(|digit| digit[64] as i32).collect();
        Batch {
            images: Tensor::from_data(images, device),
            classes: Tensor::from_data(&classes[..], device),
        }
    }
}

/// Of each class every sixth digit is for tests.
fn digits(tests: bool) -> InMemDataset<Digit> {
    let (mut seen, mut digits) = ([0; 10], Vec::new());
    for line in include_str!("../data/digits.csv").lines() {
        let fields = line
            .split(',')
            .map(|field| field.parse().expect("a number"));
        let digit: Digit = fields.collect();
        let seen = &mut seen[digit[64] as usize];
        *seen += 1;
        if (*seen % 6 == 0) == tests {
            digits.push(digit);
        }
    }
    InMemDataset::new(digits)
}
