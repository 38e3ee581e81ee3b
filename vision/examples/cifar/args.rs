//! The command line of the example.

use std::path::PathBuf;

use clap::Parser;
use mac_burn::MacConfig;
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::interval::at_least_one;
use mac_burn_examples::networks::NetworkConfig;
use mac_burn_examples::optimizers::{
    LearningRates, OptimizerArgs, OptimizerChoice, OptimizerDefaults,
};
use mac_burn_examples::training::{Course, RunArgs};
use mac_burn_vision::Augmentation;
use serde::Serialize;

use crate::dataset_choice::DatasetChoice;
use crate::model_choice::ModelChoice;

/// The longest of the authors' runs.
const EPOCHS: usize = 200;

const BATCH_SIZE: usize = 128;

const ARTIFACTS: &str = "target/cifar";

/// Trains a network on CIFAR by the recipe of the authors of MAC.
///
/// Training images are cropped at random out of a frame of zeros, an eighth of their size wide, and those of CIFAR flipped
/// left to right with a probability of 0.5; digits are not flipped, since a mirrored digit is none.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Network
    #[arg(long, value_enum, default_value_t)]
    pub(crate) model: ModelChoice,

    /// Data set
    #[arg(long, visible_alias = "data", value_enum, default_value_t = DatasetChoice::Cifar10)]
    pub(crate) dataset: DatasetChoice,

    /// A folder with CIFAR's binary version, in place of a download: data_batch_1.bin to data_batch_5.bin and
    /// test_batch.bin, or train.bin and test.bin
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Number of epochs
    #[arg(long, default_value_t = EPOCHS, value_parser = at_least_one(), conflicts_with = "steps")]
    epochs: usize,

    /// Data-loading threads; with 0 the training thread loads. The run does not depend on their number
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,

    /// The course of the run.
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// The optimizer; SGD's momentum on CIFAR-100 is Nesterov's, as in the authors' code.
    #[command(flatten)]
    pub(crate) optimizer: OptimizerArgs,
}

/// The options that a run which continues must have in common with this one, besides the optimizer.
#[derive(Serialize)]
pub(crate) struct RunConfig {
    dataset: DatasetChoice,
    train_images: usize,
    pub(crate) augmentation: Augmentation,
    pub(crate) network: NetworkConfig,
}

impl ChoosesOptimizer for Args {
    fn optimizer(&self) -> OptimizerChoice {
        self.optimizer.choice(&self.optimizer_defaults())
    }

    fn defaults() -> Vec<(&'static str, String)> {
        let run = Course::of_epochs_in_words(BATCH_SIZE, ARTIFACTS);
        let optimizer = optimizer_defaults(DatasetChoice::Cifar10).in_words();
        run.into_iter().chain(optimizer).collect()
    }
}

/// The authors' settings.
fn optimizer_defaults(dataset: DatasetChoice) -> OptimizerDefaults {
    OptimizerDefaults {
        optimizer: OptimizerChoice::MAC,
        lr: LearningRates {
            mac: 0.1,
            sgd: 0.1,
            adamw: 0.001,
        },
        warmup: 0,
        mac: MacConfig::resnet_cifar(),
        adamw_weight_decay: 0.5,
        sgd_nesterov: dataset == DatasetChoice::Cifar100,
        auxiliary_lr: 1e-3,
    }
}

impl Args {
    /// Checks what the options say together.
    ///
    /// # Errors
    /// For an option that would be ignored.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.data_dir.is_some() && self.dataset.cifar().is_none() {
            true => Err("--data-dir is an option of cifar10 and cifar100".to_string()),
            false => Ok(()),
        }
    }

    pub(crate) fn optimizer_defaults(&self) -> OptimizerDefaults {
        optimizer_defaults(self.dataset)
    }

    /// The course of a run on as many images.
    pub(crate) fn course(&self, train_images: usize) -> Course {
        self.run
            .course_of_epochs(self.epochs, train_images, BATCH_SIZE, ARTIFACTS)
    }

    /// The configuration of a run on as many images.
    pub(crate) fn config(&self, train_images: usize) -> RunConfig {
        RunConfig {
            dataset: self.dataset,
            train_images,
            augmentation: self.dataset.augmentation(),
            network: self.model.network(self.dataset.shape()),
        }
    }
}

#[cfg(test)]
mod tests;
