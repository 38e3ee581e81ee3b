//! The command line of the example.

use std::ops::Bound::{Excluded, Included};
use std::path::PathBuf;

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, SgdConfig};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use mac_burn::MacConfig;
use mac_burn_examples::command_line::{ChoosesOptimizer, MAC_HEADING};
use mac_burn_examples::interval::{at_least_one, number_in};
use mac_burn_examples::optimizer_choice::OptimizerChoice;
use mac_burn_vision::learner::Course;

use crate::dataset_choice::DatasetChoice;
use crate::model_choice::ModelChoice;
use crate::optimizer_config::OptimizerConfig;
use crate::run_config::RunConfig;

/// The longest of the authors' runs.
const EPOCHS: usize = 200;

/// Trains a network on CIFAR by the recipe of the authors of MAC.
///
/// Training images are cropped at random out of a frame of zeros, an eighth of their size wide, and those of CIFAR flipped
/// left to right with a probability of 0.5; digits are not flipped, since a mirrored digit is none.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// The network
    #[arg(long, value_enum, default_value_t)]
    pub(crate) model: ModelChoice,

    /// Data set
    #[arg(long, visible_alias = "data", value_enum, default_value_t = DatasetChoice::Cifar10)]
    pub(crate) dataset: DatasetChoice,

    /// A folder with CIFAR's binary version, in place of a download: data_batch_1.bin to data_batch_5.bin and
    /// test_batch.bin, or train.bin and test.bin
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Optimizer
    #[arg(long, value_enum, default_value_t)]
    pub(crate) optimizer: OptimizerChoice,

    /// Passes over the training set
    #[arg(long, default_value_t = EPOCHS, value_parser = at_least_one())]
    epochs: usize,

    /// For a short run: steps of the optimizer after which it ends, in place of --epochs
    #[arg(long, value_parser = at_least_one(), conflicts_with = "epochs")]
    steps: Option<usize>,

    /// Images in a batch
    #[arg(long, default_value_t = 128, value_parser = at_least_one())]
    batch_size: usize,

    /// Learning rate at the start, in (0, 1]; falls to zero along a cosine
    /// [default: 0.1 for mac and sgd, 0.001 for adamw]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in((Excluded(0.0), Included(1.0))))]
    lr: Option<f64>,

    /// Momentum, in [0, 1); the first of AdamW's two. SGD's on CIFAR-100 is Nesterov's, as in the authors' code
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.9, value_parser = number_in(0.0..1.0))]
    momentum: f64,

    /// Weight decay, 0 or more [default: 5e-4 for mac and sgd, 0.5 for adamw]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    weight_decay: Option<f64>,

    /// Seed of the initial parameters, and of the order, the crops and the flips of the images
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Threads that make batches in the background, 0 or 1: with more, no run could be repeated
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(..=1))]
    pub(crate) workers: usize,

    /// Directory for checkpoints, metrics and the log
    #[arg(long, default_value = "target/cifar")]
    pub(crate) artifacts: PathBuf,

    /// Continue the run in the directory of artifacts after this epoch
    #[arg(long, value_name = "EPOCH", value_parser = at_least_one())]
    pub(crate) resume: Option<usize>,

    /// Options of MAC alone.
    #[command(flatten, next_help_heading = MAC_HEADING)]
    mac: MacArgs,
}

#[derive(clap::Args, Debug)]
struct MacArgs {
    /// Damping, in (0, inf]; at inf, and with --no-input-covariance, MAC is SGD
    #[arg(long, allow_hyphen_values = true, default_value_t = MacConfig::resnet_cifar().damping,
          value_parser = number_in((Excluded(0.0), Included(f64::INFINITY))))]
    damping: f64,

    /// Decay of the moving average of the mean activations, in [0, 1)
    #[arg(long, allow_hyphen_values = true, default_value_t = MacConfig::resnet_cifar().stat_decay,
          value_parser = number_in(0.0..1.0))]
    stat_decay: f64,

    /// Record activations every n steps
    #[arg(long, default_value_t = MacConfig::resnet_cifar().tcov, value_parser = at_least_one())]
    tcov: usize,

    /// Refresh the preconditioner every n steps
    #[arg(long, default_value_t = MacConfig::resnet_cifar().tinv, value_parser = at_least_one())]
    tinv: usize,

    /// Precondition the first layer by its mean activation, not by the covariance of its inputs, which is measured before training
    #[arg(long)]
    no_input_covariance: bool,
}

impl ChoosesOptimizer for Args {
    fn optimizer(&self) -> OptimizerChoice {
        self.optimizer
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

    /// The configuration of a run on as many images.
    pub(crate) fn config(&self, train_images: usize) -> RunConfig {
        let lr = match self.optimizer {
            OptimizerChoice::Mac | OptimizerChoice::Sgd => 0.1,
            OptimizerChoice::Adamw => 0.001,
        };
        RunConfig {
            dataset: self.dataset,
            train_images,
            augmentation: self.dataset.augmentation(),
            network: self.model.network(self.dataset.shape()),
            optimizer: self.optimizer_config(),
            input_covariance: !self.mac.no_input_covariance,
            course: Course::new()
                .with_lr(self.lr.unwrap_or(lr))
                .with_epochs(self.epochs)
                .with_steps(self.steps)
                .with_batch_size(self.batch_size)
                .with_seed(self.seed),
        }
    }

    /// The network, as named on the command line.
    pub(crate) fn model_name(&self) -> String {
        let value = self.model.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_string())
    }

    fn optimizer_config(&self) -> OptimizerConfig {
        let decay = |default| self.weight_decay.unwrap_or(default);
        match self.optimizer {
            OptimizerChoice::Mac => OptimizerConfig::Mac(
                MacConfig::resnet_cifar()
                    .with_momentum(self.momentum)
                    .with_weight_decay(decay(MacConfig::resnet_cifar().weight_decay))
                    .with_damping(self.mac.damping)
                    .with_stat_decay(self.mac.stat_decay)
                    .with_tcov(self.mac.tcov)
                    .with_tinv(self.mac.tinv),
            ),
            OptimizerChoice::Sgd => OptimizerConfig::Sgd(
                SgdConfig::new()
                    .with_momentum(Some(self.sgd_momentum()))
                    .with_weight_decay(Some(WeightDecayConfig::new(decay(5e-4) as f32))),
            ),
            OptimizerChoice::Adamw => OptimizerConfig::AdamW(
                AdamWConfig::new()
                    .with_beta_1(self.momentum as f32)
                    .with_epsilon(1e-8)
                    .with_weight_decay(decay(0.5) as f32),
            ),
        }
    }

    /// Without dampening, as in MAC.
    fn sgd_momentum(&self) -> MomentumConfig {
        MomentumConfig::new()
            .with_momentum(self.momentum)
            .with_dampening(0.0)
            .with_nesterov(self.dataset == DatasetChoice::Cifar100)
    }
}

#[cfg(test)]
mod tests;
