//! A run.

use std::error::Error;

use burn::module::Module;
use burn::record::Recorder;
use burn::tensor::backend::Backend;
use mac_burn_examples::atomic_recorder::AtomicRecorder;
use mac_burn_examples::backend::{self, Selected, Training};
use mac_burn_examples::command_line::value_name;
use mac_burn_examples::images::files;
use mac_burn_examples::training::{Outcome, Progress, Run};
use mac_burn_vision::ImageTask;

use crate::args::Args;

/// The file of the average of the parameters, among the artifacts.
pub(crate) const EMA_FILE: &str = "ema";

/// Trains as the command line says, and validates and stores the average of the parameters.
///
/// # Errors
/// If there is no device, the images cannot be listed or read, there is another run among the artifacts, or the training
/// ends early.
pub(crate) fn run(
    args: &Args,
    tell: impl FnMut(Progress),
) -> Result<Outcome<ImageTask<Training>, Training>, Box<dyn Error>> {
    let (device, seed) = (backend::device()?, args.run.seed);
    Training::seed(&device, seed);

    let files = files::list(args.root())?;
    let [train, valid, classes] = [files.train.len(), files.valid.len(), files.classes.len()];
    println!("images: {train} to train on, {valid} to validate with, of {classes} classes");
    if let Some(remark) = files.remark() {
        println!("warning: {remark}");
    }
    let config = args.config(train, classes, files.fingerprint(args.root()))?;
    let course = args.course(train);
    let batches = config.batches(files, course.batch_size, seed, args.workers);
    let task = ImageTask::new(batches, classes, config.recipe.label_smoothing, &device);
    let model = config.network.init::<Training>(&device);
    let plan = args.optimizer.plan(&args.optimizer_defaults(train));
    let run = Run {
        task: &task,
        plan: &plan,
        schedule: args.schedule(train),
        average: args.average(train),
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
    if let Some((average, validation)) = &trained.average {
        let file = course.artifacts.join(EMA_FILE);
        let record = average.clone().into_record();
        Recorder::<Selected>::record(&AtomicRecorder, record, file.clone())?;
        println!(
            "average of the parameters: validation loss {:.4}, accuracy {:.2} %; stored in {}.mpk",
            validation.loss,
            validation.accuracy.unwrap_or_default(),
            file.display()
        );
    }
    Ok(trained)
}
