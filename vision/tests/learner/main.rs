//! A run in burn-train's `Learner` that is resumed ends with the parameters of one that was never interrupted.

mod auxiliary_optimizer;
mod silent_renderer;

use std::fs;
use std::path::Path;
use std::process::Command;

use burn::data::dataset::transform::PartialDataset;
use burn::module::{AutodiffModule, Module};
use burn::optim::Optimizer as _;
use burn::record::{Record, Recorder};
use mac_burn::{Mac, MacConfig, MacRecord};
use mac_burn_examples::atomic_recorder::AtomicRecorder;
use mac_burn_examples::backend::Training;
use mac_burn_examples::digits::{DigitsBatcher, DigitsDataset};
use mac_burn_examples::image_data::ImageData;
use mac_burn_models::{LeNet, LeNetConfig};
use mac_burn_vision::learner::{Classifier, Course, Loaders, Run, checkpoint};
use tempfile::TempDir;

use silent_renderer::SilentRenderer;

type Model = Classifier<Training, LeNet<Training>>;
type Optimizer = Mac<Model, Training>;
type OptimizerRecord = MacRecord<Training>;

const BATCH_SIZE: usize = 32;

/// An epoch has 7 steps, the last with fewer images.
const TRAIN_ITEMS: usize = 7 * BATCH_SIZE - 10;

/// Says to a test in which directory it is to resume a run, in a process of its own.
const RESUME_IN: &str = "MAC_BURN_TEST_RESUME_IN";

/// Recordings are at steps 1, 4, 7, 10, 13 and refreshes at 1, 6, 11: after the 7 steps of the first epoch the optimizer
/// is in the middle of both, and statistics are recorded that it does not use yet.
fn mac() -> MacConfig {
    MacConfig::new()
        .with_tcov(3)
        .with_tinv(5)
        .with_weight_decay(1e-3)
}

fn course() -> Course {
    Course::new().with_epochs(2).with_batch_size(BATCH_SIZE)
}

fn model() -> Model {
    Classifier::new(LeNetConfig::new([8, 8]).init(&Default::default()))
}

fn run(artifacts: &Path, course: Course, resume: Option<usize>) -> Run<Training> {
    let data = ImageData {
        train: PartialDataset::new(DigitsDataset::train(), 0, TRAIN_ITEMS),
        valid: PartialDataset::new(DigitsDataset::test(), 0, BATCH_SIZE),
        batcher: DigitsBatcher,
    };
    Run {
        loaders: Loaders::new(data, &course, resume.unwrap_or(0), 1),
        course,
        artifacts: artifacts.to_path_buf(),
        resume,
    }
}

fn launch(run: &Run<Training>) -> Model {
    let model = model();
    let optimizer = run.mac(&mac(), &model).expect("the configuration is valid");
    let learner = run.learner(model, optimizer).expect("the course is valid");
    let result = run
        .training()
        .renderer(SilentRenderer)
        .with_application_logger(None)
        .launch(learner);
    Classifier::from_inner(result.model)
}

/// A run of two epochs that was not interrupted.
fn uninterrupted() -> TempDir {
    let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
    launch(&run(artifacts.path(), course(), None));
    artifacts
}

/// The artifacts of a run that is interrupted after its first epoch.
fn interrupted(whole: &TempDir) -> TempDir {
    let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
    fs::create_dir(artifacts.path().join("checkpoint")).expect("it is not there yet");
    for part in ["model", "optim", "scheduler"] {
        fs::copy(
            checkpoint(whole.path(), part, 1),
            checkpoint(artifacts.path(), part, 1),
        )
        .expect("each epoch has a checkpoint");
    }
    artifacts
}

fn model_after(artifacts: &TempDir, epoch: usize) -> Vec<u8> {
    fs::read(checkpoint(artifacts.path(), "model", epoch)).expect("each epoch has a checkpoint")
}

/// Whether both runs end with the same parameters, bit for bit.
fn end_alike(run: &TempDir, other: &TempDir) -> bool {
    model_after(run, 2) == model_after(other, 2)
}

#[test]
fn a_resumed_run_ends_with_the_parameters_of_an_uninterrupted_one() {
    let whole = uninterrupted();
    let resumed = interrupted(&whole);

    launch(&run(resumed.path(), course(), Some(1)));

    assert!(end_alike(&resumed, &whole));
    assert_ne!(
        model_after(&whole, 1),
        model_after(&whole, 2),
        "the second epoch trains"
    );
}

#[test]
fn a_run_resumed_in_a_new_process_ends_with_the_parameters_of_an_uninterrupted_one() {
    const THIS: &str =
        "a_run_resumed_in_a_new_process_ends_with_the_parameters_of_an_uninterrupted_one";
    if let Some(artifacts) = std::env::var_os(RESUME_IN) {
        launch(&run(Path::new(&artifacts), course(), Some(1)));
        return;
    }
    let whole = uninterrupted();
    let resumed = interrupted(&whole);

    let process = Command::new(std::env::current_exe().expect("a test has an executable"))
        .args(["--exact", THIS])
        .env(RESUME_IN, resumed.path())
        .output()
        .expect("the executable can be started");

    assert!(process.status.success(), "{process:?}");
    assert!(end_alike(&resumed, &whole));
}

/// Each of these is what the tests above would miss if the checkpoint, or the resumed run, lacked it.
#[test]
fn a_run_that_is_resumed_without_a_part_of_its_state_ends_with_other_parameters() {
    let whole = uninterrupted();
    let ends_alike = |course: Course, spoil: &dyn Fn(&Path)| {
        let resumed = interrupted(&whole);
        spoil(resumed.path());
        launch(&run(resumed.path(), course, Some(1)));
        end_alike(&resumed, &whole)
    };

    assert!(!ends_alike(course(), &forget_the_statistics), "statistics");
    assert!(!ends_alike(course(), &forget_the_momentum), "momentum");
    assert!(!ends_alike(course(), &forget_the_schedule), "schedule");
    assert!(
        !ends_alike(course().with_seed(1), &|_| ()),
        "the order of the images"
    );
    assert!(ends_alike(course(), &|_| ()), "nothing is missing here");
}

/// Forgets the recorded activations, and where the optimizer is between recordings and between refreshes.
fn forget_the_statistics(artifacts: &Path) {
    let mut record: OptimizerRecord = load(artifacts, "optim");
    record.preconditioner = optimizer_before_training(artifacts)
        .to_record()
        .preconditioner;
    store(artifacts, "optim", record);
}

fn forget_the_momentum(artifacts: &Path) {
    let mut record = optimizer_before_training(artifacts).to_record();
    let trained: OptimizerRecord = load(artifacts, "optim");
    record.preconditioner = trained.preconditioner;
    store(artifacts, "optim", record);
}

/// Leaves the schedule at its second step.
fn forget_the_schedule(artifacts: &Path) {
    store(artifacts, "scheduler", 1_usize);
}

/// Knows the covariance of the input, and nothing else.
fn optimizer_before_training(artifacts: &Path) -> Optimizer {
    let model = model().load_record(load(artifacts, "model"));
    let covariance = run(artifacts, course(), None)
        .loaders
        .input_covariance(&model);
    mac()
        .init()
        .with_input_covariance(&covariance)
        .expect("the covariance of images has an inverse")
}

fn load<R: Record<Training>>(artifacts: &Path, part: &str) -> R {
    AtomicRecorder
        .load(checkpoint(artifacts, part, 1), &Default::default())
        .expect("the first epoch has a checkpoint")
}

fn store<R: Record<Training>>(artifacts: &Path, part: &str, record: R) {
    AtomicRecorder
        .record(record, checkpoint(artifacts, part, 1))
        .expect("the directory can be written to");
}

#[test]
fn the_report_of_a_run_is_made_from_its_last_checkpoint() {
    let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
    let run = run(artifacts.path(), course(), None);
    let model = launch(&run);

    let report = run
        .report(&mac(), &model, 2)
        .expect("each epoch has a checkpoint");

    let layers: Vec<&str> = report
        .layers
        .iter()
        .map(|layer| layer.path.as_str())
        .collect();
    assert_eq!(
        layers,
        ["conv1", "conv2", "fc1", "fc2", "head"].map(|layer| format!("network.{layer}"))
    );
    assert!(
        run.report(&mac(), &model, 3).is_err(),
        "the run has two epochs"
    );
}

/// Breaks when a training goes on after its loss has become NaN.
#[test]
fn a_training_that_diverges_ends_with_an_error() {
    let artifacts = tempfile::tempdir().expect("a temporary directory can be made");
    let run = run(artifacts.path(), course(), None);
    // The first step overflows.
    let optimizer = mac().with_weight_decay(1e38).init();
    let error = run
        .train(model(), optimizer, Some(SilentRenderer))
        .expect_err("the loss is not finite");
    assert_eq!(
        error.to_string(),
        "training ended early: the loss of epoch 1 is not finite; try a smaller --lr"
    );
    assert!(!checkpoint(artifacts.path(), "model", 2).exists());
}
