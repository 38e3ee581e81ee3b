//! Runs of the example, on images that are made here.

#[path = "../support/interruption.rs"]
mod interruption;

use std::error::Error;
use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use clap::ValueEnum;
use mac_burn_examples::backend::{Selected, Training};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::networks::Network;
use mac_burn_examples::training::Progress;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::args::Args;
use crate::dataset_choice::DatasetChoice;
use crate::model_choice::ModelChoice;
use crate::training;
use interruption::{copying, values};

const CIFAR10: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

const CIFAR100: [&str; 2] = ["train.bin", "test.bin"];

/// A folder of a binary version, with as many images of noise in each of these files.
fn folder(files: &[&str], images: usize, labels: usize) -> TempDir {
    let folder = temporary();
    let mut random = StdRng::seed_from_u64(7);
    for file in files {
        let mut image = || -> Vec<u8> {
            let labels: Vec<u8> = (0..labels).map(|_| random.random_range(0..10)).collect();
            let pixels = (0..3 * 32 * 32).map(|_| random.random());
            labels.into_iter().chain(pixels).collect()
        };
        let bytes: Vec<u8> = (0..images).flat_map(|_| image()).collect();
        fs::write(folder.path().join(file), bytes).expect("it can be written");
    }
    folder
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// Runs the example with these options, and with these directories, and returns the network.
fn run(
    options: &str,
    images: Option<&Path>,
    artifacts: &Path,
    tell: impl FnMut(Progress),
) -> Result<Network<Training>, Box<dyn Error>> {
    let mut line: Vec<_> = ["cifar", "--artifacts"].map(Into::into).into();
    line.push(artifacts.as_os_str().to_owned());
    if let Some(images) = images {
        line.push("--data-dir".into());
        line.push(images.as_os_str().to_owned());
    }
    line.extend(options.split_whitespace().map(Into::into));
    Ok(training::run(&Args::try_read(line)?, tell)?.model)
}

/// Crops and flips that a generator draws one after the other, and not by step and place, would show here, as would a
/// schedule or statistics that begin anew.
#[test]
fn a_resumed_run_of_mac_ends_with_the_parameters_of_an_uninterrupted_one() {
    // 10 images make 2 steps an epoch, so the run ends with the first step of its third epoch.
    let options = "--model resnet20 --batch-size 4 --steps 5 --tcov 2 --tinv 3";
    let (images, whole, resumed) = (folder(&CIFAR10, 2, 1), temporary(), temporary());
    let images = Some(images.path());
    let tell = copying(whole.path(), resumed.path(), 5);
    let uninterrupted = run(options, images, whole.path(), tell).expect("the run is short");

    let mut steps = Vec::new();
    let options = format!("{options} --resume --workers 3");
    let tell = |progress: Progress| steps.push(progress.step);
    let end = run(&options, images, resumed.path(), tell).expect("there is a checkpoint");

    assert_eq!(steps, [5], "it is resumed after step 4");
    assert!(values(&end) == values(&uninterrupted));
}

#[test]
fn the_other_optimizers_train_on_cifar100_and_on_digits() {
    let train = |options: &str, images: Option<&Path>| {
        let mut told = Vec::new();
        let artifacts = temporary();
        let tell = |progress| told.push(progress);
        run(options, images, artifacts.path(), tell).expect("the run is short");
        assert_eq!(told.len(), 1);
        assert!(told[0].validation_loss.is_finite() && told[0].validation_accuracy.is_some());
    };
    let images = folder(&CIFAR100, 3, 2);
    let sgd = "--model lenet5 --dataset cifar100 --optimizer sgd --batch-size 2 --steps 1";
    train(sgd, Some(images.path()));
    let adamw = "--model lenet5 --data digits --optimizer adamw --steps 1 --workers 0";
    train(adamw, None);
}

#[test]
fn a_run_is_continued_only_as_it_began() {
    let (images, artifacts) = (folder(&CIFAR10, 1, 1), temporary());
    let options = "--model lenet5 --batch-size 5 --steps 2 --no-input-covariance";
    let run = |options: &str, images: &TempDir| {
        run(options, Some(images.path()), artifacts.path(), |_| ())
    };
    run(options, &images).expect("the run is short");
    let said = |options: &str, images: &TempDir| {
        let result = run(options, images);
        result.expect_err("the run is another").to_string()
    };

    assert!(said(options, &images).contains("has the checkpoint of a run: continue it"));
    let other_lr = said(&format!("{options} --resume --lr 0.2"), &images);
    assert!(
        other_lr
            .ends_with("begun with:\n  optimizer.lr: 0.1, not 0.2\n  schedule.lr: 0.1, not 0.2"),
        "{other_lr}"
    );
    let other_model = said(
        &format!("{} --resume", options.replace("lenet5", "deit-tiny")),
        &images,
    );
    assert!(
        other_model.ends_with("begun with:\n  config.network: LeNet, not VisionTransformer"),
        "{other_model}"
    );
    let other_images = said(&format!("{options} --resume"), &folder(&CIFAR10, 2, 1));
    assert!(
        other_images.ends_with("begun with:\n  config.train_images: 5, not 10"),
        "{other_images}"
    );
    let missing = said(options, &temporary());
    assert!(
        missing.contains("data_batch_1.bin cannot be read"),
        "{missing}"
    );
}

#[test]
fn every_network_takes_the_smallest_images() {
    let device = Default::default();
    let shape = DatasetChoice::Digits.shape();
    for model in ModelChoice::value_variants() {
        // Of all that is special for small images, widths and depths are no part.
        if matches!(model, ModelChoice::Wrn28x10 | ModelChoice::Resnet110) {
            continue;
        }
        let network = model.network(shape).init::<Selected>(&device);
        let images = Tensor::zeros([1, shape.channels, shape.size, shape.size], &device);
        assert_eq!(network.forward(images).dims(), [1, 10], "{model:?}");
    }
}

/// Numbers of parameters are those that `mac-burn-models` documents; Burn counts the running mean and variance of each
/// normalized channel too.
#[test]
fn names_are_those_of_the_networks() {
    for (model, parameters, normalized_channels) in [
        (ModelChoice::Resnet20, 269_722, 688),
        (ModelChoice::Resnet18, 11_173_962, 4800),
        (ModelChoice::DeitTiny, 5_362_762, 0),
        (ModelChoice::Lenet5, 62_006, 0),
    ] {
        let network = model.network(DatasetChoice::Cifar10.shape());
        let network = network.init::<Selected>(&Default::default());
        let expected = parameters + 2 * normalized_channels;
        assert_eq!(network.num_params(), expected, "{model:?}");
    }
}
