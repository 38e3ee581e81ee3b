//! An auxiliary optimizer in burn-train's `Learner`: here for the head, which MAC is told to skip.

use std::path::Path;

use burn::module::Module;
use burn::optim::{AdamW, AdamWConfig};
use mac_burn::{AuxiliaryOptimizerReport, Mac, MacConfig, MacRecord, ParameterState};
use mac_burn_examples::backend::Training;

use super::silent_renderer::SilentRenderer;
use super::{Model, course, end_alike, interrupted, load, model, run};

type Optimizer = Mac<Model, Training, AdamW>;
type OptimizerRecord = MacRecord<Training, AdamW>;

const HEAD: &str = "network.head";

fn optimizer() -> Optimizer {
    MacConfig::new()
        .with_tcov(3)
        .with_tinv(5)
        .with_skip_layers(vec![HEAD.into()])
        .init()
        .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.02)
        .expect("the factor is allowed")
}

fn launch(artifacts: &Path, resume: Option<usize>) {
    let run = run(artifacts, course(), resume);
    let learner = run.learner(model(), optimizer());
    run.training()
        .renderer(SilentRenderer)
        .with_application_logger(None)
        .launch(learner.expect("the course is valid"));
}

#[test]
fn a_resumed_run_with_an_auxiliary_optimizer_ends_with_the_parameters_of_an_uninterrupted_one() {
    let whole = tempfile::tempdir().expect("a temporary directory can be made");
    launch(whole.path(), None);
    let resumed = interrupted(&whole);

    launch(resumed.path(), Some(1));

    assert!(end_alike(&resumed, &whole));
}

#[test]
fn the_checkpoint_of_a_run_has_the_state_of_the_auxiliary_optimizer() {
    let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
    launch(artifacts.path(), None);
    let record: OptimizerRecord = load(artifacts.path(), "optim");
    let model = model().load_record(load(artifacts.path(), "model"));

    let states = record.states.values();
    let auxiliary = states.filter(|state| matches!(state, ParameterState::Auxiliary(_)));
    assert_eq!(auxiliary.count(), 2, "weight and bias of the head");

    let optimizer = optimizer().try_load_record(record, &model);
    let report = optimizer
        .expect("it is the record of the model")
        .report(&model);
    let auxiliary: AuxiliaryOptimizerReport = report.auxiliary_optimizer.expect("there is one");
    assert_eq!(
        auxiliary.paths,
        ["weight", "bias"].map(|name| format!("{HEAD}.{name}"))
    );
}
