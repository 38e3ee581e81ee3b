//! A second optimizer in burn-train's `Learner`: here for the head, which MAC is told to skip.

use std::path::Path;
use std::sync::Arc;

use burn::lr_scheduler::cosine::{CosineAnnealingLrScheduler, CosineAnnealingLrSchedulerConfig};
use burn::optim::{AdamW, AdamWConfig};
use burn::train::{Learner, LearningComponentsMarker, SupervisedTraining};
use mac_burn::{Mac, MacConfig, MacRecord, SecondOptimizerReport};
use mac_burn_examples::backend::Training;
use mac_burn_examples::learner::{AtomicRecorder, Classifier, RunConfig};
use mac_burn_models::LeNetConfig;

use super::silent_renderer::SilentRenderer;
use super::{end_alike, interrupted, load, run};

type Optimizer = Mac<Classifier<Training>, Training, AdamW>;
type OptimizerRecord = MacRecord<Classifier<Training>, Training, AdamW>;
type Components =
    LearningComponentsMarker<Training, CosineAnnealingLrScheduler, Classifier<Training>, Optimizer>;

const HEAD: &str = "network.head";

fn config() -> RunConfig {
    let mac = MacConfig::new()
        .with_tcov(3)
        .with_tinv(5)
        .with_skip_layers(vec![HEAD.into()]);
    super::config().with_mac(mac)
}

fn optimizer() -> Optimizer {
    config()
        .mac
        .init()
        .with_second_optimizer(AdamWConfig::new().init(), 0.02)
        .expect("the factor is allowed")
}

fn launch(artifacts: &Path, resume: Option<usize>) {
    let config = config();
    let run = run(artifacts, config.clone(), resume);
    let steps = config.epochs * run.loaders.train.num_items().div_ceil(config.batch_size);
    let schedule = CosineAnnealingLrSchedulerConfig::new(config.lr, steps)
        .init()
        .expect("the schedule is valid");
    let model = Classifier::new(config.network.init(&Default::default()));
    let training = SupervisedTraining::<Components>::new(
        artifacts,
        Arc::clone(&run.loaders.train),
        Arc::clone(&run.loaders.valid),
    )
    .with_file_checkpointer(AtomicRecorder)
    .num_epochs(config.epochs)
    .renderer(SilentRenderer)
    .with_application_logger(None);
    let training = match resume {
        Some(epoch) => training.checkpoint(epoch),
        None => training,
    };
    training.launch(Learner::new(model, optimizer(), schedule));
}

#[test]
fn a_resumed_run_with_a_second_optimizer_ends_with_the_parameters_of_an_uninterrupted_one() {
    let whole = tempfile::tempdir().expect("a temporary directory can be made");
    launch(whole.path(), None);
    let resumed = interrupted(&whole);

    launch(resumed.path(), Some(1));

    assert!(end_alike(&resumed, &whole));
}

#[test]
fn the_checkpoint_of_a_run_has_the_state_of_the_second_optimizer() {
    let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
    launch(artifacts.path(), None);
    let record: OptimizerRecord = load(artifacts.path(), "optim");
    let model = Classifier::new(LeNetConfig::new([8, 8]).init(&Default::default()));
    let model = burn::module::Module::load_record(model, load(artifacts.path(), "model"));

    let (_, states) = record.3.as_ref().expect("there is a second optimizer");
    assert_eq!(states.len(), 2, "weight and bias of the head");

    let optimizer = optimizer().try_load_record(record, &model);
    let report = optimizer
        .expect("it is the record of the model")
        .report(&model);
    let second: SecondOptimizerReport = report.second_optimizer.expect("there is one");
    assert_eq!(
        second.paths,
        ["weight", "bias"].map(|name| format!("{HEAD}.{name}"))
    );
}
