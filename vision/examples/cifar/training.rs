//! A run.

use std::error::Error;

use burn::data::dataset::Dataset;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::train::renderer::MetricsRenderer;
use mac_burn::MacConfig;
use mac_burn_examples::backend::{Selected, Training, describe};
use mac_burn_examples::no_device;
use mac_burn_vision::learner::{Artifacts, Classifier, Loaders, Run};

use crate::args::Args;
use crate::images::{self, Images};
use crate::optimizer_config::OptimizerConfig;
use crate::run_config::RunConfig;
use mac_burn_vision::networks::Network;

pub(crate) type Model = Classifier<Training, Network<Training>>;

/// Trains as the command line says; metrics go to `renderer`, or to burn-train's dashboard.
///
/// # Errors
/// If there is no device, the images cannot be loaded, there is another run among the artifacts, or the training ends
/// early.
pub(crate) fn run<R>(args: &Args, renderer: Option<R>) -> Result<(), Box<dyn Error>>
where
    R: MetricsRenderer + 'static,
{
    args.check()?;
    let device = Default::default();
    no_device::probe::<Selected>(&device)?;
    println!("backend: {}", describe::<Selected>(&device));
    Training::seed(&device, args.seed);

    let images = images::load(args.dataset, args.data_dir.as_deref())?;
    let (train_images, valid_images) = (images.train.len(), images.valid.len());
    println!("images: {train_images} to train on, {valid_images} to validate with");

    let config = args.config(train_images);
    let run = begin(args, &config, images)?;
    let model = model(args, &config);
    describe_run(args, &run, &model);
    train(&run, &config, model, renderer)
}

/// The run, once it is certain that it can begin or continue where its artifacts are to be.
fn begin(args: &Args, config: &RunConfig, images: Images) -> Result<Run<Training>, Box<dyn Error>> {
    let (course, done) = (&config.course, args.resume.unwrap_or(0));
    let epochs = course.number_of_epochs(images.train.len());
    let artifacts = Artifacts::new(&args.artifacts, config.clone(), epochs);
    artifacts.check(args.resume)?;
    artifacts.write()?;
    Ok(Run {
        loaders: Loaders::new(images, course, done, args.workers),
        course: course.clone(),
        artifacts: args.artifacts.clone(),
        resume: args.resume,
    })
}

/// The network, with recorders only where MAC takes what they record.
pub(crate) fn model(args: &Args, config: &RunConfig) -> Model {
    let network = config.network.init::<Training>(&Default::default());
    Classifier::new(args.optimizer.prepare(network))
}

fn describe_run(args: &Args, run: &Run<Training>, model: &Model) {
    println!(
        "network: {} with {} parameters; {} with learning rate {} from seed {}",
        args.model_name(),
        model.num_params(),
        args.optimizer,
        run.course.lr,
        args.seed
    );
    println!(
        "steps: {} in {} epochs; checkpoints, metrics and log in {}",
        run.course.number_of_steps(run.loaders.train_images),
        run.epochs(),
        args.artifacts.display()
    );
}

fn train<R>(
    run: &Run<Training>,
    config: &RunConfig,
    model: Model,
    renderer: Option<R>,
) -> Result<(), Box<dyn Error>>
where
    R: MetricsRenderer + 'static,
{
    match &config.optimizer {
        OptimizerConfig::Mac(mac) => {
            let model = train_with_mac(run, mac, config.input_covariance, model, renderer)?;
            println!("{}", run.report(mac, &model, run.epochs())?);
        }
        OptimizerConfig::Sgd(sgd) => {
            run.train(model, sgd.init(), renderer)?;
        }
        OptimizerConfig::AdamW(adamw) => {
            run.train(model, adamw.init(), renderer)?;
        }
    }
    Ok(())
}

fn train_with_mac<R>(
    run: &Run<Training>,
    mac: &MacConfig,
    input_covariance: bool,
    model: Model,
    renderer: Option<R>,
) -> Result<Model, Box<dyn Error>>
where
    R: MetricsRenderer + 'static,
{
    let optimizer = match input_covariance {
        true => run.mac(mac, &model)?,
        false => mac.try_init()?,
    };
    run.train(model, optimizer, renderer)
}
