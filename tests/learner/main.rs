//! MAC in Burn's `Learner`: a run that is resumed ends with the parameters of one that was never interrupted, and what is missing
//! from a checkpoint shows.

mod classifier;
mod foreign_model;
mod silent_renderer;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::{AutodiffModule, Module};
use burn::optim::{AdamW, AdamWConfig, Optimizer};
use burn::record::{FileRecorder, Record, Recorder};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::train::{ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainStep};
use mac_burn::{InputCovariance, Mac, MacConfig, MacRecord, ParameterState};
use mac_burn_examples::atomic_recorder::AtomicRecorder;
use mac_burn_examples::backend::{Selected, Training};
use mac_burn_examples::images::{Image, ImageBatch, digits};
use mac_burn_models::LeNetConfig;
use mac_burn_tests::this_executable;
use tempfile::TempDir;

use classifier::Classifier;
use silent_renderer::SilentRenderer;

type Model = Classifier<Training>;

const BATCH_SIZE: usize = 32;

/// An epoch has 7 steps, the last with fewer images.
const TRAIN_ITEMS: usize = 7 * BATCH_SIZE - 10;

const EPOCHS: usize = 2;

const HEAD: &str = "network.head";

/// Says to a test in which directory it is to resume a run, in a process of its own.
const RESUME_IN: &str = "MAC_BURN_TEST_RESUME_IN";

/// Recordings are at steps 1, 4, 7, 10, 13 and refreshes at 1, 6, 11: after the 7 steps of the first epoch the optimizer
/// is in the middle of both, and statistics are recorded that it does not use yet.
fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(3)
        .with_tinv(5)
        .with_weight_decay(1e-3)
}

fn model() -> Model {
    Classifier {
        network: LeNetConfig::new([8, 8]).init(&Default::default()),
    }
}

/// Makes batches of digits.
#[derive(Clone)]
struct Digits;

impl<B: Backend> Batcher<B, Image, ImageBatch<B>> for Digits {
    fn batch(&self, images: Vec<Image>, device: &B::Device) -> ImageBatch<B> {
        digits::load().batch(&images, device)
    }
}

/// A loader of images in their own order: Burn's shuffled loader begins its orders anew in a resumed run.
fn loader<B: Backend>(images: &[Image]) -> Arc<dyn DataLoader<B, ImageBatch<B>>> {
    DataLoaderBuilder::new(Digits)
        .batch_size(BATCH_SIZE)
        .build(InMemDataset::new(images.to_vec()))
}

/// MAC that knows the curvature of the first layer.
fn mac(model: &Model) -> Mac<Model, Training> {
    let mut covariance = InputCovariance::of(model.network.first_layer());
    for batch in loader(&digits::load().train[..TRAIN_ITEMS]).iter() {
        covariance.update(batch.images);
    }
    let mac = config().init().with_input_covariance(&covariance);
    mac.expect("the covariance of images has an inverse")
}

/// Trains from the beginning, or after the first epoch.
fn launch(artifacts: &Path, resume: bool) -> Model {
    let model = model();
    // The checkpoint has the covariance.
    let optimizer = match resume {
        true => config().init(),
        false => mac(&model),
    };
    launch_with(artifacts, resume, model, optimizer)
}

fn launch_with<B, M, O>(artifacts: &Path, resume: bool, model: M, optimizer: O) -> M
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + Display + 'static,
    M: TrainStep<Input = ImageBatch<B>, Output = ClassificationOutput<B>>,
    M::InnerModule: InferenceStep<
            Input = ImageBatch<B::InnerBackend>,
            Output = ClassificationOutput<B::InnerBackend>,
        >,
    O: Optimizer<M, B> + 'static,
{
    let steps = EPOCHS * TRAIN_ITEMS.div_ceil(BATCH_SIZE);
    let schedule = CosineAnnealingLrSchedulerConfig::new(0.1, steps).init();
    let learner = Learner::new(model, optimizer, schedule.expect("0.1 is a rate"));
    let images = digits::load();
    let training = SupervisedTraining::new(
        artifacts,
        loader(&images.train[..TRAIN_ITEMS]),
        loader(&images.valid[..BATCH_SIZE]),
    );
    let training = match resume {
        true => training.checkpoint(1),
        false => training,
    };
    let result = training
        .with_file_checkpointer(AtomicRecorder)
        .num_epochs(EPOCHS)
        .renderer(SilentRenderer)
        .with_application_logger(None)
        .launch(learner);
    M::from_inner(result.model)
}

/// The file of one part (`model`, `optim` or `scheduler`) of the checkpoint after an epoch.
fn checkpoint(artifacts: &Path, part: &str, epoch: usize) -> PathBuf {
    let extension = <AtomicRecorder as FileRecorder<Selected>>::file_extension();
    let file = format!("checkpoint/{part}-{epoch}.{extension}");
    artifacts.join(file)
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// A run of two epochs that was not interrupted.
fn uninterrupted() -> TempDir {
    let artifacts = temporary();
    launch(artifacts.path(), false);
    artifacts
}

/// The artifacts of a run that is interrupted after its first epoch.
fn interrupted(whole: &TempDir) -> TempDir {
    let artifacts = temporary();
    fs::create_dir(artifacts.path().join("checkpoint")).expect("it is not there yet");
    for part in ["model", "optim", "scheduler"] {
        let [from, to] = [whole, &artifacts].map(|folder| checkpoint(folder.path(), part, 1));
        fs::copy(from, to).expect("each epoch has a checkpoint");
    }
    artifacts
}

/// Whether both runs end with the same parameters, bit for bit.
fn end_alike(run: &TempDir, other: &TempDir) -> bool {
    let [run, other] = [run, other].map(|artifacts| model_after(artifacts, EPOCHS));
    run == other
}

fn model_after(artifacts: &TempDir, epoch: usize) -> Vec<u8> {
    let file = checkpoint(artifacts.path(), "model", epoch);
    fs::read(file).expect("each epoch has a checkpoint")
}

#[test]
fn a_resumed_run_ends_with_the_parameters_of_an_uninterrupted_one() {
    let whole = uninterrupted();
    let resumed = interrupted(&whole);

    launch(resumed.path(), true);

    assert!(end_alike(&resumed, &whole));
    let [first, second] = [1, 2].map(|epoch| model_after(&whole, epoch));
    assert_ne!(first, second, "the second epoch trains");
}

#[test]
fn a_run_resumed_in_a_new_process_ends_with_the_parameters_of_an_uninterrupted_one() {
    const THIS: &str =
        "a_run_resumed_in_a_new_process_ends_with_the_parameters_of_an_uninterrupted_one";
    if let Some(artifacts) = std::env::var_os(RESUME_IN) {
        launch(Path::new(&artifacts), true);
        return;
    }
    let whole = uninterrupted();
    let resumed = interrupted(&whole);

    let process = this_executable()
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
    let ends_alike = |spoil: &dyn Fn(&Path)| {
        let resumed = interrupted(&whole);
        spoil(resumed.path());
        launch(resumed.path(), true);
        end_alike(&resumed, &whole)
    };

    assert!(!ends_alike(&forget_the_statistics), "statistics");
    assert!(!ends_alike(&forget_the_momentum), "momentum");
    assert!(!ends_alike(&forget_the_schedule), "schedule");
    assert!(ends_alike(&|_| ()), "nothing is missing here");
}

/// Forgets the recorded activations, and where the optimizer is between recordings and between refreshes.
fn forget_the_statistics(artifacts: &Path) {
    let mut record: MacRecord<Training> = load(artifacts, "optim");
    record.preconditioner = before_training(artifacts).preconditioner;
    store(artifacts, "optim", record);
}

fn forget_the_momentum(artifacts: &Path) {
    let mut record = before_training(artifacts);
    let trained: MacRecord<Training> = load(artifacts, "optim");
    record.preconditioner = trained.preconditioner;
    store(artifacts, "optim", record);
}

/// Leaves the schedule at its second step.
fn forget_the_schedule(artifacts: &Path) {
    store(artifacts, "scheduler", 1_usize);
}

/// The record of an optimizer that knows the covariance of the input, and nothing else.
fn before_training(artifacts: &Path) -> MacRecord<Training> {
    let model = model().load_record(load(artifacts, "model"));
    mac(&model).to_record()
}

fn load<B: Backend, R: Record<B>>(artifacts: &Path, part: &str) -> R {
    AtomicRecorder
        .load(checkpoint(artifacts, part, 1), &Default::default())
        .expect("the first epoch has a checkpoint")
}

fn store<R: Record<Training>>(artifacts: &Path, part: &str, record: R) {
    AtomicRecorder
        .record(record, checkpoint(artifacts, part, 1))
        .expect("the directory can be written to");
}

/// An auxiliary optimizer for the head, which MAC is told to skip.
fn mac_and_adamw() -> Mac<Model, Training, AdamW> {
    config()
        .with_skip_layers(vec![HEAD.into()])
        .init()
        .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.02)
        .expect("the factor is allowed")
}

#[test]
fn a_resumed_run_with_an_auxiliary_optimizer_ends_with_the_parameters_of_an_uninterrupted_one() {
    let whole = temporary();
    launch_with(whole.path(), false, model(), mac_and_adamw());
    let resumed = interrupted(&whole);

    launch_with(resumed.path(), true, model(), mac_and_adamw());

    assert!(end_alike(&resumed, &whole));

    let record: MacRecord<Training, AdamW> = load(whole.path(), "optim");
    let states = record.states.values();
    let auxiliary = states.filter(|state| matches!(state, ParameterState::Auxiliary(_)));
    assert_eq!(auxiliary.count(), 2, "weight and bias of the head");
}

/// Breaks when the report of a record lacks what the optimizer that the learner keeps had.
#[test]
fn the_report_of_a_run_is_made_from_its_checkpoint() {
    let artifacts = uninterrupted();
    let model = model().load_record(load(artifacts.path(), "model"));
    let record: MacRecord<Training> = load(artifacts.path(), "optim");

    let report = record.report(&config(), &model);

    let report = report.expect("it is the record of the model");
    let layers: Vec<_> = report.layers.iter().map(|layer| &*layer.path).collect();
    let expected = ["conv1", "conv2", "fc1", "fc2", "head"];
    assert_eq!(layers, expected.map(|layer| format!("network.{layer}")));
    let updates = report.layers.iter().map(|layer| layer.updates);
    // At steps 1, 4 and 7; the first layer has the covariance of its inputs.
    assert_eq!(updates.skip(1).collect::<Vec<_>>(), [3; 4], "{report}");
    let refreshes = report.layers.iter().map(|layer| layer.last_refresh);
    assert_eq!(
        refreshes.skip(1).collect::<Vec<_>>(),
        [Some(6); 4],
        "{report}"
    );
}
