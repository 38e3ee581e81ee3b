//! A run.

use std::error::Error;

use burn::module::Module;
use burn::tensor::backend::Backend;
use mac_burn_examples::backend::{self, Training};
use mac_burn_examples::command_line::value_name;
use mac_burn_examples::training::{Outcome, Progress, Run};
use mac_burn_vision::{AugmentedImages, ImageTask};

use crate::args::Args;

/// Trains as the command line says.
///
/// # Errors
/// If there is no device, the images cannot be loaded, there is another run among the artifacts, or the training ends
/// early.
pub(crate) fn run(
    args: &Args,
    tell: impl FnMut(Progress),
) -> Result<Outcome<ImageTask<Training>, Training>, Box<dyn Error>> {
    args.check()?;
    let (device, seed) = (backend::device()?, args.run.seed);
    Training::seed(&device, seed);

    let images = args.dataset.load(args.data_dir.as_deref())?;
    let [train, valid] = [images.train.len(), images.valid.len()];
    println!("images: {train} to train on, {valid} to validate with");
    let (config, course) = (args.config(train), args.course(train));
    let classes = images.shape.classes;
    let images = AugmentedImages {
        images,
        augmentation: config.augmentation,
    };
    let batches = images.batches(course.batch_size, seed, args.workers);
    let task = ImageTask::new(batches, classes, 0.0, &device);
    let model = config.network.init::<Training>(&device);
    let defaults = args.optimizer_defaults();
    let plan = args.optimizer.plan(&defaults);
    let run = Run {
        task: &task,
        plan: &plan,
        schedule: args.optimizer.schedule(&defaults, course.steps),
        average: None,
        config,
        course: &course,
        args: &args.run,
        tell,
    };
    println!(
        "{}",
        run.describe(&value_name(&args.model), model.num_params())
    );
    println!("{}", Progress::HEADER);
    let trained = run.train::<Training>(model)?;
    if let Some(report) = &trained.report {
        println!("{report}");
    }
    Ok(trained)
}
