//! Runs of the example, on images that are made here.

#[path = "../support/interruption.rs"]
mod interruption;

use std::error::Error;
use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::record::Recorder;
use burn::tensor::Tensor;
use clap::ValueEnum;
use image::{Rgb, RgbImage};
use mac_burn::{Coverage, LayerReport};
use mac_burn_examples::atomic_recorder::AtomicRecorder;
use mac_burn_examples::backend::{Selected, Training};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::training::{Outcome, Progress};
use mac_burn_vision::ImageTask;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::args::Args;
use crate::model_choice::ModelChoice;
use crate::training::{self, EMA_FILE};
use interruption::{copying, values};

const CLASSES: [&str; 2] = ["noise", "stripes"];

/// Six images to train on and four to validate with, of two classes and different sizes, as PNG and JPEG.
fn folder() -> TempDir {
    let root = temporary();
    let mut random = StdRng::seed_from_u64(9);
    for (side, images) in [("train", 3), ("val", 2)] {
        for (class, name) in CLASSES.iter().enumerate() {
            let folder = root.path().join(side).join(name);
            fs::create_dir_all(&folder).expect("it can be made");
            for index in 0..images {
                let (width, height) = (40 + 9 * index, 52 - 5 * index);
                let image = RgbImage::from_fn(width, height, |x, _| match class {
                    0 => Rgb(random.random()),
                    _ => Rgb([(x % 8 * 30) as u8; 3]),
                });
                let extension = ["png", "jpg"][index as usize % 2];
                let file = folder.join(format!("{index}.{extension}"));
                image.save(file).expect("it can be written");
            }
        }
    }
    root
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// Runs the example on the images of `root` with these options.
fn run(
    options: &str,
    root: &Path,
    artifacts: &Path,
    tell: impl FnMut(Progress),
) -> Result<Outcome<ImageTask<Training>, Training>, Box<dyn Error>> {
    let mut line: Vec<_> = ["imagenet", "--image-size", "32", "--batch-size", "3"]
        .map(Into::into)
        .into();
    line.extend([root.as_os_str().to_owned(), "--artifacts".into()]);
    line.push(artifacts.as_os_str().to_owned());
    line.extend(options.split_whitespace().map(Into::into));
    training::run(&Args::try_read(line)?, tell)
}

/// Breaks when MAC records nothing and is SGD but for its name, or when the report is that of an optimizer whose record was
/// not compared with the network yet: both say that nothing was recorded.
#[test]
fn every_layer_is_preconditioned_and_reported_also_after_a_resume() {
    let covered = |trained: Outcome<ImageTask<Training>, Training>, counts: [usize; 2]| {
        let report = trained.report.expect("it is MAC's");
        let count = |coverage| {
            let layers = report.layers.iter();
            layers.filter(|layer| layer.coverage == coverage).count()
        };
        let found = [Coverage::NoRecorder, Coverage::InputCovariance].map(count);
        assert_eq!(found, counts, "{report}");
        // Recorded in the first of every 2 of 4 steps.
        let recorded =
            |layer: &&LayerReport| layer.coverage == Coverage::MeanActivation && layer.updates == 2;
        let recorded = report.layers.iter().filter(recorded).count();
        let others = report.layers.len() - counts.iter().sum::<usize>();
        assert!(others >= 20 && recorded == others, "{report}");
    };
    // DeiT's class token and positions have no inputs to record. The covariance of its patches has 769 rows, whose inverse
    // takes long in a build without optimization; that of ResNet's has 147.
    let deit = "--optimizer mac-adamw --auxiliary-lr 0.01 --no-input-covariance";
    for (model, options, counts) in [("deit-tiny", deit, [2, 0]), ("resnet18", "", [0, 1])] {
        let (root, whole, resumed) = (folder(), temporary(), temporary());
        let options = format!("--model {model} --steps 4 --tcov 2 --tinv 2 {options}");
        let tell = copying(whole.path(), resumed.path(), 4);
        let trained = run(&options, root.path(), whole.path(), tell);
        covered(trained.expect("the run is short"), counts);
        let options = format!("{options} --resume");
        let trained = run(&options, root.path(), resumed.path(), |_| ());
        covered(trained.expect("there is a checkpoint"), counts);
    }
}

/// Six images make 2 steps an epoch, so this ends with the second epoch. Crops, flips, automatic changes, erased parts or mixtures
/// that are drawn by another than the seed, the step and the place would show, as would an average, a schedule or
/// statistics that begin anew, or batches that come as they happen to be ready. The average is a copy in the first three steps, so
/// that one that begins anew after two of them would be a copy of the end.
#[test]
fn a_resumed_run_ends_with_the_parameters_and_the_average_of_an_uninterrupted_one() {
    let options = "--model deit-tiny --steps 4 --ema-decay 0.5 --tcov 2 --tinv 3 --optimizer mac-adamw --auxiliary-lr 0.01 \
                   --no-input-covariance --repeats 3 --random-erase 1";
    let (root, whole, resumed) = (folder(), temporary(), temporary());
    let tell = copying(whole.path(), resumed.path(), 4);
    let uninterrupted = format!("{options} --workers 3");
    let uninterrupted = run(&uninterrupted, root.path(), whole.path(), tell);
    let uninterrupted = uninterrupted.expect("the run is short");

    let mut steps = Vec::new();
    let options = format!("{options} --workers 0 --resume");
    let tell = |progress: Progress| steps.push(progress.step);
    let end = run(&options, root.path(), resumed.path(), tell).expect("there is a checkpoint");

    assert_eq!(steps, [4], "it is resumed after step 2");
    let [average, of_uninterrupted] = [&end, &uninterrupted].map(|trained| {
        let (average, _) = trained.average.as_ref().expect("it is kept");
        values::<Selected>(average)
    });
    let end = values::<Training>(&end.model);
    assert!(end == values::<Training>(&uninterrupted.model));
    assert!(average == of_uninterrupted);
    assert!(average != end, "an average is not the network");
}

#[test]
fn resnets_train_with_the_other_optimizers_and_the_average_is_stored() {
    let (root, artifacts) = (folder(), temporary());
    let sgd = "--model resnet18 --optimizer sgd --steps 2 --workers 2";
    let trained = run(sgd, root.path(), artifacts.path(), |_| ()).expect("the run is short");

    let network = ModelChoice::Resnet18.network(32, CLASSES.len());
    let network = network.expect("it takes any size");
    let network = network.init::<Selected>(&Default::default());
    let file = artifacts.path().join(EMA_FILE);
    let record = Recorder::<Selected>::load(&AtomicRecorder, file, &Default::default());
    let stored = network.load_record(record.expect("the run has an average"));
    let (average, _) = trained.average.expect("it is kept");
    assert!(values::<Selected>(&stored) == values::<Selected>(&average));

    let artifacts = temporary();
    let adamw = "--model resnet18 --optimizer adamw --steps 1 --ema-decay 0 --mixup 0 --cutmix 0";
    let trained = run(adamw, root.path(), artifacts.path(), |_| ()).expect("the run is short");
    assert!(trained.average.is_none());
    let file = artifacts.path().join(EMA_FILE).with_extension("mpk");
    assert!(!file.exists());
}

#[test]
fn a_file_that_is_no_image_ends_the_run_and_is_named() {
    for (side, options) in [
        ("train", "--optimizer sgd --workers 2"),
        ("train", "--workers 0"),
        ("val", "--optimizer sgd --workers 1"),
    ] {
        let (root, artifacts) = (folder(), temporary());
        let broken = root.path().join(side).join("stripes/0.png");
        fs::write(broken, "text").expect("it can be written");
        // With repeats an epoch leaves images out.
        let options = format!("--model deit-tiny --steps 2 --repeats 1 {options}");
        let error = run(&options, root.path(), artifacts.path(), |_| ());
        let error = error.err().expect("it is no image");
        assert!(error.to_string().contains("stripes/0.png: "), "{error}");
    }
}

#[test]
fn a_run_is_continued_only_as_it_began() {
    let (root, artifacts) = (folder(), temporary());
    let options = "--model deit-tiny --steps 1 --no-input-covariance";
    let run = |options: &str| run(options, root.path(), artifacts.path(), |_| ());
    run(options).expect("the run is short");
    let said = |options: &str| {
        let error = run(options).err().expect("the run is another");
        error.to_string()
    };
    assert!(said(options).contains("has the checkpoint of a run"));
    let other = said(&format!("{options} --resume --mixup 0.5"));
    assert!(
        other.ends_with("begun with:\n  config.recipe.mixup: 0.8, not 0.5"),
        "{other}"
    );
    // As many images, of which one has another name.
    let image = root.path().join("train/stripes/0.png");
    fs::rename(&image, image.with_file_name("a.png")).expect("it can be renamed");
    let other = said(&format!("{options} --resume"));
    assert!(other.contains("begun with:\n  config.files: "), "{other}");
}

#[test]
fn every_network_takes_small_images() {
    for model in ModelChoice::value_variants() {
        let network = model
            .network(32, 5)
            .expect("32 is a multiple of all patches");
        let network = network.init::<Selected>(&Default::default());
        let images = Tensor::zeros([1, 3, 32, 32], &Default::default());
        assert_eq!(network.forward(images).dims(), [1, 5], "{model:?}");
    }
}
