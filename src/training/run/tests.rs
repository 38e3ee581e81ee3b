use std::cell::Cell;
use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use clap::{Parser, ValueEnum};
use mac_burn::{Coverage, InputCovariance, Mac, MacConfig};
use mac_burn_models::{GptConfig, Mlp, MlpConfig, VisionTransformerConfig};
use tempfile::TempDir;

use super::*;
use crate::backend::Training;
use crate::images::digits;
use crate::networks::NetworkConfig;
use crate::optimizers::{LearningRates, OptimizerArgs, OptimizerChoice, OptimizerDefaults};
use crate::tasks::{ImageClasses, TextModel};
use crate::training::session::tests::Small;
use crate::training::{Inner, Validation};

/// Records in the first and the fourth step, and takes the means into use then: a run that is interrupted after the second is
/// between two of both.
const OPTIONS: &str = "--warmup 1 --tcov 3 --tinv 3 --auxiliary-lr 0.01";

fn defaults() -> OptimizerDefaults {
    OptimizerDefaults::transformer(LearningRates {
        mac: 0.1,
        sgd: 0.1,
        adamw: 0.01,
    })
}

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    optimizer: OptimizerArgs,
    #[command(flatten)]
    run: RunArgs,
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("there is a folder for temporary files")
}

/// Trains with [`OPTIONS`] and these.
fn run<T: Task<Training>>(
    task: &T,
    options: &str,
    artifacts: &Path,
    model: T::Model,
    tell: impl FnMut(Progress),
) -> Result<T::Model, Box<dyn Error>> {
    let options = format!("run {OPTIONS} {options}");
    let args = Args::try_parse_from(options.split_whitespace())?;
    let course = args.run.course(Course {
        steps: 4,
        batch_size: 4,
        every: 2,
        artifacts: artifacts.to_path_buf(),
    });
    let run = Run {
        task,
        plan: &args.optimizer.plan(&defaults()),
        schedule: args.optimizer.schedule(&defaults(), course.steps),
        average: None,
        config: (),
        course: &course,
        args: &args.run,
        tell,
    };
    Ok(run.train::<Training>(model)?.model)
}

/// The values of all parameters, in the order of the network.
fn values<M: Module<Training>>(model: &M) -> Vec<TensorData> {
    struct Values(Vec<TensorData>);
    impl ModuleVisitor<Training> for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Training, D>>) {
            self.0.push(param.val().into_data());
        }
    }
    let mut values = Values(Vec::new());
    model.visit(&mut values);
    values.0
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).expect("the run has begun") {
        let file = file.expect("it can be listed");
        fs::copy(file.path(), to.join(file.file_name())).expect("it can be copied");
    }
}

/// Compares a run of four steps with one that is stored after two of them and continued with another network, whose values
/// and ids are others, for each optimizer.
fn continues_exactly<T: Task<Training>>(task: &T, init: impl Fn() -> T::Model) {
    for choice in OptimizerChoice::value_variants() {
        continues_exactly_with(choice.name(), task, &init);
    }
}

fn continues_exactly_with<T: Task<Training>>(
    optimizer: &str,
    task: &T,
    init: impl Fn() -> T::Model,
) {
    let options = format!("--optimizer {optimizer}");
    let (whole, resumed) = (temporary(), temporary());
    let expected = run(task, &options, whole.path(), init(), |progress| {
        // The checkpoint of step 4 is stored after this.
        if progress.step == 4 {
            copy(whole.path(), resumed.path());
        }
    });
    let expected = values(&expected.expect("the run is short"));

    let mut told = Vec::new();
    let options = format!("{options} --resume");
    let model = run(task, &options, resumed.path(), init(), |progress| {
        told.push((progress.step, progress.train_loss.is_some()));
    });
    assert_eq!(told, [(4, true)], "{optimizer}");
    let values = values(&model.expect("there is a checkpoint"));
    assert_eq!(values, expected, "{optimizer}");
}

/// Breaks when a checkpoint lacks a parameter, momentum, AdamW's averages, MAC's means or where it is between two recordings,
/// the covariance of the patches, or the step, which the batch and the learning rate depend on.
#[test]
fn a_resumed_vision_transformer_is_the_one_that_was_not_interrupted() {
    let device = Default::default();
    let mut images = digits::load();
    images.train.truncate(24);
    images.valid.truncate(8);
    let task = ImageClasses::<Training>::new(&images, 4, 1, &device);
    let config = VisionTransformerConfig::new(8, 2)
        .with_patch_size(4)
        .with_num_classes(images.shape.classes)
        .with_n_layers(1);
    let config = NetworkConfig::from(config).for_images(images.shape);
    continues_exactly(&task, || config.init::<Training>(&device));
}

/// The same, without a covariance and with parameters that no recorder covers.
#[test]
fn a_resumed_gpt_is_the_one_that_was_not_interrupted() {
    let device = Default::default();
    let text = "to be, or not to be: that is the question: ".repeat(4);
    let task = TextModel::<Training>::new(&text, 6, 4, 1, &device);
    let task = task.expect("the text is long enough");
    let config = GptConfig::new(task.characters.count())
        .with_context_size(6)
        .with_n_layers(1)
        .with_n_heads(2)
        .with_d_model(8);
    continues_exactly(&task, || config.init::<Training>(&device));
}

/// [`Small`], with what goes wrong, and with what is asked of it counted.
#[derive(Default)]
struct Watched {
    /// The step in which the training loss is no number.
    broken_step: Option<usize>,
    /// The validation whose loss is no number; the first is 0.
    broken_validation: Option<usize>,
    validations: Cell<usize>,
    covariances: Cell<usize>,
}

impl Task<Training> for Watched {
    type Model = Mlp<Training>;

    fn loss(
        &self,
        model: &Self::Model,
        step: usize,
    ) -> Result<Tensor<Training, 1>, Box<dyn Error>> {
        let loss = Small.loss(model, step)?;
        Ok(match self.broken_step == Some(step) {
            true => loss.mul_scalar(f32::NAN),
            false => loss,
        })
    }

    fn validate(&self, _model: &Inner<Self, Training>) -> Result<Validation, Box<dyn Error>> {
        let validation = self.validations.get();
        self.validations.set(validation + 1);
        let loss = match self.broken_validation == Some(validation) {
            true => f64::NAN,
            false => 0.25,
        };
        let accuracy = Some(75.0);
        Ok(Validation { loss, accuracy })
    }

    fn input_covariance(
        &self,
        _model: &Self::Model,
    ) -> Result<Option<InputCovariance<Training>>, Box<dyn Error>> {
        self.covariances.set(self.covariances.get() + 1);
        Ok(None)
    }
}

fn mlp() -> Mlp<Training> {
    MlpConfig::new(vec![3, 4, 2]).init(&Default::default())
}

/// Breaks when only one of the losses is looked at, or not before the checkpoint is written.
#[test]
fn a_run_that_diverges_says_so_and_leaves_the_good_checkpoint() {
    let by_training = Watched {
        broken_step: Some(3),
        ..Watched::default()
    };
    let by_validation = Watched {
        broken_validation: Some(1),
        ..Watched::default()
    };
    for (task, kind) in [(by_training, "training"), (by_validation, "validation")] {
        let artifacts = temporary();
        let error = run(&task, "", artifacts.path(), mlp(), |_| ());
        let error = error.expect_err("it diverges").to_string();
        let answer = format!("the {kind} loss is NaN at step 4, and must be finite");
        assert!(error.contains(&answer), "{error}");
        assert!(error.ends_with("try a learning rate (--lr) below 0.1"));

        let mut told = Vec::new();
        let tell = |progress: Progress| told.push((progress.step, progress.train_loss.is_some()));
        let healed = Watched::default();
        run(&healed, "--resume", artifacts.path(), mlp(), tell).expect("step 2 is stored");
        assert_eq!(told, [(4, true)]);
    }
}

#[test]
fn a_finished_run_that_is_resumed_tells_its_validation_loss() {
    let (artifacts, task) = (temporary(), Watched::default());
    let model = run(&task, "", artifacts.path(), mlp(), |_| ()).expect("the run is short");

    let mut told = Vec::new();
    let tell = |progress: Progress| told.push(progress);
    let resumed = run(&task, "--resume", artifacts.path(), mlp(), tell);
    let [finished] = told[..] else {
        panic!("it is told once: {told:?}");
    };
    assert_eq!((finished.step, finished.train_loss), (4, None));
    assert_eq!(finished.validation_loss, 0.25);
    assert_eq!(finished.validation_accuracy, Some(75.0));
    assert!(finished.seconds > 0.0, "the time goes on after a resume");
    let resumed = resumed.expect("there is a checkpoint");
    assert_eq!(values(&resumed), values(&model));
}

/// Breaks when a run takes the place of another, which is lost then.
#[test]
fn a_run_does_not_begin_where_there_is_one() {
    let artifacts = temporary();
    run(&Small, "", artifacts.path(), mlp(), |_| ()).expect("the folder is empty");
    let error = run(&Small, "", artifacts.path(), mlp(), |_| ());
    let error = error.expect_err("there is a run").to_string();
    assert!(error.contains("continue it with --resume"), "{error}");
}

/// Breaks when it is measured for an optimizer that has no use of it, or once more when it is in the record.
#[test]
fn the_covariance_is_measured_where_it_is_used() {
    let measured = |options: &str, artifacts: &Path| {
        let task = Watched::default();
        run(&task, options, artifacts, mlp(), |_| ()).expect(options);
        task.covariances.get()
    };
    let artifacts = temporary();
    assert_eq!(measured("", artifacts.path()), 1);
    assert_eq!(measured("--resume", artifacts.path()), 0);
    for options in [
        "--no-input-covariance",
        "--optimizer sgd",
        "--optimizer muon",
    ] {
        assert_eq!(measured(options, temporary().path()), 0, "{options}");
    }
}

#[test]
fn only_mac_trains_with_recorders() {
    let coverage = |options: &str| {
        let model = run(&Small, options, temporary().path(), mlp(), |_| ()).expect(options);
        let mac: Mac<Mlp<Training>, Training> = MacConfig::new().init();
        mac.report(&model).layers[0].coverage
    };
    assert_eq!(coverage(""), Coverage::NothingRecorded);
    assert_eq!(coverage("--optimizer sgd-adamw"), Coverage::NoRecorder);
    assert_eq!(coverage("--optimizer adamw"), Coverage::NoRecorder);
}
