//! A run.

use std::error::Error;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::train::Interrupter;
use burn::train::renderer::MetricsRenderer;
use mac_burn::Report;
use mac_burn_examples::backend::{Selected, Training, describe};
use mac_burn_examples::image_files;
use mac_burn_examples::no_device;
use mac_burn_vision::learner::{Artifacts, SoftClassifier};

use crate::args::Args;
use crate::image_loaders::ImageLoaders;
use crate::launch::{Launch, Model};
use crate::run_config::RunConfig;

/// Trains as the command line says, and returns MAC's report; metrics go to `renderer`, or to burn-train's dashboard.
///
/// # Errors
/// If there is no device, the images cannot be listed or read, there is another run among the artifacts, or the training
/// ends early.
pub(crate) fn run<R>(args: &Args, renderer: Option<R>) -> Result<Option<Report>, Box<dyn Error>>
where
    R: MetricsRenderer + 'static,
{
    let device = Default::default();
    no_device::probe::<Selected>(&device)?;
    println!("backend: {}", describe::<Selected>(&device));
    Training::seed(&device, args.seed);

    let files = image_files::list(args.root())?;
    println!(
        "images: {} to train on, {} to validate with, of {} classes",
        files.train.len(),
        files.valid.len(),
        files.classes.len()
    );
    if let Some(remark) = files.remark() {
        println!("warning: {remark}");
    }
    let fingerprint = files.fingerprint(args.root());
    let config = args.config(files.train.len(), files.classes.len(), fingerprint)?;
    let artifacts = Artifacts::new(&args.artifacts, config.clone(), config.epochs());
    artifacts.check(args.resume)?;
    let interrupter = Interrupter::new();
    let done = args.resume.unwrap_or(0);
    let loaders = ImageLoaders::new(files, &config, done, args.workers, &interrupter);
    artifacts.write()?;

    let model = model(&config);
    describe_run(args, &config, &model);
    // A run that continues has it in the optimizer's record.
    let measures = config.optimizer.needs_input_covariance() && args.resume.is_none();
    let covariance = measures.then(|| loaders.input_covariance(&model.network));
    if let Some(reason) = interrupter.get_message() {
        return Err(reason.into());
    }
    let launch = Launch {
        config: &config,
        loaders: &loaders,
        interrupter,
        artifacts: args.artifacts.clone(),
        resume: args.resume,
        model,
        renderer,
    };
    let (_, report) = config.optimizer.train(covariance, launch)?;
    if let Some(report) = &report {
        println!("{report}");
    }
    Ok(report)
}

fn model(config: &RunConfig) -> Model {
    let network = config.network.init::<Training>(&Default::default());
    SoftClassifier::new(config.optimizer.choice.prepare(network))
}

fn describe_run(args: &Args, config: &RunConfig, model: &Model) {
    println!(
        "network: {} with {} parameters; {} with learning rate {} from seed {}",
        args.model_name(),
        model.num_params(),
        args.optimizer,
        config.course.lr,
        args.seed
    );
    println!(
        "steps: {} in {} epochs; checkpoints, metrics and log in {}",
        config.schedule().steps,
        config.epochs(),
        args.artifacts.display()
    );
}
