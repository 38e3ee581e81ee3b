//! A comparison of MAC, SGD and AdamW on transformers, in equal steps.
//!
//! ```text
//! cargo bench --bench learning
//! cargo bench --bench learning -- --task vit --grid 0.03 --grid 0.1
//! ```
//!
//! The learning rate of each optimizer is the best of the same grid, by the validation loss of one seed; the table is of
//! other seeds at that rate. Everything else is what the examples `vit` and `char-gpt` have by default. Validation loss
//! is the lowest of a run, and the rates are chosen by the same data.
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

mod options;
mod outcome;
mod plot;
mod table;
mod trial;

use burn::module::AutodiffModule;
use burn::tensor::backend::Backend;
use mac_burn_examples::backend::{Selected, Training, describe};
use mac_burn_examples::images::digits;
use mac_burn_examples::networks::NetworkConfig;
use mac_burn_examples::optimizer_choice::OptimizerChoice;
use mac_burn_examples::tasks::{HAMLET, ImageClasses, TextModel};
use mac_burn_examples::training::{OptimizerArgs, Task};
use mac_burn_models::{GptConfig, VisionTransformerConfig};
use options::Options;
use outcome::Outcome;
use std::error::Error;
use std::fs;
use trial::Trial;

/// Chooses the learning rates.
const TUNING_SEED: u64 = 0;

const OPTIMIZERS: [OptimizerChoice; 3] = [
    OptimizerChoice::Mac,
    OptimizerChoice::Sgd,
    OptimizerChoice::Adamw,
];

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read();
    if let Some(folder) = &options.plot {
        fs::create_dir_all(folder)?;
    }
    let device = Default::default();
    println!("# Learning: {}\n", describe::<Selected>(&device));
    if options.wants_task("vit") {
        vit(&options)?;
    }
    if options.wants_task("char-gpt") {
        gpt(&options)?;
    }
    Ok(())
}

fn vit(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let images = digits::load();
    let task = |seed| ImageClasses::<Training>::new(&images, 32, seed, &device);
    let config = VisionTransformerConfig::new(48, 4)
        .with_patch_size(2)
        .with_num_classes(images.shape.classes)
        .with_n_layers(4);
    let config = NetworkConfig::from(config).for_images(images.shape);
    let valid = images.valid.len();
    println!("vit on digits, {valid} images to validate with\n");
    compare("vit", options, task, || config.init::<Training>(&device))
}

fn gpt(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let task = |seed| {
        TextModel::<Training>::new(HAMLET, 64, 32, seed, &device).expect("Hamlet is long enough")
    };
    let config = GptConfig::new(task(0).characters.count())
        .with_context_size(64)
        .with_n_layers(3)
        .with_n_heads(4)
        .with_d_model(64);
    println!("char-gpt on Hamlet, nats a character\n");
    compare("char-gpt", options, task, || {
        config.init::<Training>(&device)
    })
}

/// Tunes the optimizers and prints their standings.
fn compare<T, M>(
    name: &str,
    options: &Options,
    task: impl Fn(u64) -> T,
    make: impl Fn() -> M,
) -> Result<(), Box<dyn Error>>
where
    T: Task<Training, Model = M>,
    M: AutodiffModule<Training> + 'static,
{
    let run = |optimizer, lr, seed| {
        Training::seed(&Default::default(), seed);
        let outcome = outcome(options, optimizer, lr, &task(seed), make());
        println!(
            "{optimizer} at {lr}, seed {seed}: validation loss {:.4}, training loss {:.4}",
            outcome.best(),
            outcome.train_loss()
        );
        outcome
    };
    let wanted = OPTIMIZERS.into_iter();
    let wanted = wanted.filter(|optimizer| options.wants_optimizer(&optimizer.to_string()));
    let rows = wanted.map(|optimizer| {
        let rates = options.grid().iter().copied();
        let tuned = rates.map(|lr| (lr, run(optimizer, lr, TUNING_SEED).best()));
        let best = tuned.min_by(|(_, left), (_, right)| left.total_cmp(right));
        let lr = best.map_or(f64::NAN, |(lr, _)| lr);
        table::Row {
            optimizer,
            lr,
            outcomes: options
                .seeds()
                .map(|seed| run(optimizer, lr, seed))
                .collect(),
        }
    });
    let standings = table::Standings {
        rows: rows.collect(),
        goal: options.goal,
    };
    if options.seeds().next().is_some() {
        println!("\n{standings}\n");
        if let Some(folder) = &options.plot {
            let file = folder.join(format!("{name}.svg"));
            plot::plot(name, &standings.rows, &file)?;
            println!("picture: {}", file.display());
        }
    }
    Ok(())
}

/// Trains once. What a run that diverges has seen is its outcome as well.
fn outcome<T, M>(
    options: &Options,
    optimizer: OptimizerChoice,
    lr: f64,
    task: &T,
    model: M,
) -> Outcome
where
    T: Task<Training, Model = M>,
    M: AutodiffModule<Training> + 'static,
{
    let args = OptimizerArgs {
        optimizer,
        lr: Some(lr),
        ..options.optimizer.clone()
    };
    let steps = options.steps();
    let defaults = options::defaults();
    let mut seen = Vec::new();
    let trial = Trial {
        task,
        schedule: args.schedule(&defaults, steps),
        every: (steps / 24).max(1),
        seen: &mut seen,
        model: optimizer.prepare(model.clone()),
    };
    let plan = args.plan(&defaults);
    let covariance = match plan.needs_input_covariance() {
        true => task.input_covariance(&model),
        false => Ok(None),
    };
    if let Err(reason) = covariance.and_then(|covariance| plan.train(covariance, trial)) {
        println!("{optimizer} at {lr}: {reason}");
    }
    Outcome(seen)
}
