//! The command line of the example.

use std::ops::Bound::{Excluded, Included};
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use mac_burn_examples::command_line::{ChoosesOptimizer, MAC_HEADING};
use mac_burn_examples::interval::{at_least_one, number_in};
use mac_burn_examples::optimizer_choice::OptimizerChoice;
use mac_burn_examples::training::OptimizerPlan;
use mac_burn_vision::augment::RandomErasing;
use mac_burn_vision::learner::Course;

use crate::automatic_choice::AutomaticChoice;
use crate::model_choice::ModelChoice;
use crate::recipe::{self, Recipe};
use crate::run_config::RunConfig;

/// Trains a network on images in folders, as ImageNet, by the settings of the MAC paper, but for half precision.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// The folder of the images, which are in train/CLASS and val/CLASS
    #[arg(required_unless_present = "data_dir", conflicts_with = "data_dir")]
    root: Option<PathBuf>,

    /// The folder of the images, by the name that timm has for it, in place of ROOT
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,

    /// The network
    #[arg(long, value_enum, default_value_t)]
    pub(crate) model: ModelChoice,

    /// Optimizer
    #[arg(long, value_enum, default_value_t)]
    pub(crate) optimizer: OptimizerChoice,

    /// How images are changed.
    #[command(flatten)]
    images: ImageArgs,

    /// Epochs, each of as many images as the training set has
    #[arg(long, default_value_t = 100, value_parser = at_least_one())]
    epochs: usize,

    /// For a short run: steps of the optimizer after which it ends, in place of --epochs
    #[arg(long, value_parser = at_least_one(), conflicts_with = "epochs")]
    steps: Option<usize>,

    /// Images in a batch; the learning rates are for 1024
    #[arg(long, default_value_t = 1024, value_parser = at_least_one())]
    batch_size: usize,

    /// Learning rate at the end of the warm-up, in (0, 10]; falls to zero along a cosine, which begins then for ResNets, and with
    /// the first step for transformers [default: 0.5 for mac and sgd, 0.001 for adamw]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in((Excluded(0.0), Included(10.0))))]
    lr: Option<f64>,

    /// Epochs in which the learning rate rises, at most half of the run
    #[arg(long, default_value_t = 5)]
    warmup_epochs: usize,

    /// Share of the learning rate at which it begins to rise, in [0, 1) [default: 0.01 for ResNets, 0.1 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..1.0))]
    warmup_start: Option<f64>,

    /// Momentum, in [0, 1); the first of AdamW's two. SGD's of transformers is Nesterov's, as in timm
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.9, value_parser = number_in(0.0..1.0))]
    momentum: f64,

    /// Weight decay, 0 or more: for ResNets of all but norms; for transformers of all but norms, biases, class token and
    /// positions [default: 2e-5 for ResNets and 1e-4 for transformers, 0.05 for adamw]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    weight_decay: Option<f64>,

    /// Decay of an average of the parameters in each step, in [0, 1), which is validated and stored at the end; 0 keeps none.
    /// Until the warm-up is over it is a copy [default: 1 - 25.6 / steps of the run for ResNets, 0 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..1.0))]
    ema_decay: Option<f64>,

    /// Threads that read images and make batches; with 0 the one that trains does. The run does not depend on their number
    #[arg(long, default_value_t = 4)]
    pub(crate) workers: usize,

    /// Seed of the initial parameters, and of the order and the changes of the images
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Directory for checkpoints, metrics and the log
    #[arg(long, default_value = "target/imagenet")]
    pub(crate) artifacts: PathBuf,

    /// Continue the run in the directory of artifacts after this epoch
    #[arg(long, value_name = "EPOCH", value_parser = at_least_one())]
    pub(crate) resume: Option<usize>,

    /// Options of MAC alone.
    #[command(flatten, next_help_heading = MAC_HEADING)]
    mac: MacArgs,
}

#[derive(clap::Args, Debug)]
struct ImageArgs {
    /// Height and width of the images; a multiple of 16 for DeiT, of 4 for Swin
    /// [default: 224, but ResNets train on 176]
    #[arg(long, value_parser = at_least_one())]
    image_size: Option<usize>,

    /// Changes of color and shape, drawn for each image [default: ta_wide for ResNets, rand-m9-mstd0.5-inc1 for transformers]
    #[arg(long, value_enum)]
    auto_augment: Option<AutomaticChoice>,

    /// Probability that a part of an image is erased, in [0, 1]; for ResNets it has the mean color then, for transformers noise
    /// [default: 0.1 for ResNets, 0.25 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..=1.0))]
    random_erase: Option<f64>,

    /// How often an image comes in a row, each time changed in another way. An epoch has as many images as with 1, of which
    /// fewer are different [default: 4 for ResNets, 3 for transformers]
    #[arg(long, value_parser = at_least_one())]
    repeats: Option<usize>,

    /// α of mixup, 0 or more; 0 turns it off [default: 0.2 for ResNets, 0.8 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    mixup: Option<f64>,

    /// α of cutmix, 0 or more; 0 turns it off [default: 1]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    cutmix: Option<f64>,

    /// Share of the targets that is spread over all classes, in [0, 1] [default: 0.1]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..=1.0))]
    label_smoothing: Option<f64>,
}

#[derive(clap::Args, Debug)]
struct MacArgs {
    /// Damping, in (0, inf] [default: 1 for ResNets, 3 for transformers]
    #[arg(long, allow_hyphen_values = true,
          value_parser = number_in((Excluded(0.0), Included(f64::INFINITY))))]
    damping: Option<f64>,

    /// Decay of the moving average of the mean activations, in [0, 1) [default: 0.95 for ResNets, 0.99 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..1.0))]
    stat_decay: Option<f64>,

    /// Record activations every n steps [default: 5]
    #[arg(long, value_parser = at_least_one())]
    tcov: Option<usize>,

    /// Refresh the preconditioner every n steps [default: 50 for ResNets, 5 for transformers]
    #[arg(long, value_parser = at_least_one())]
    tinv: Option<usize>,

    /// Learning rate of AdamW for the parameters that MAC does not cover (norms, positions), in [0, 1]; at 0 they take MAC's
    /// own step, as in the paper
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.0, value_parser = number_in(0.0..=1.0))]
    auxiliary_lr: f64,

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
    /// The folder of the images.
    pub(crate) fn root(&self) -> &Path {
        let given = self.root.as_ref().or(self.data_dir.as_ref());
        // clap asks for one of the two.
        given.map_or(Path::new("."), PathBuf::as_path)
    }

    /// The configuration of a run on as many images of as many classes, in the files of a fingerprint.
    ///
    /// # Errors
    /// If the network does not take images of the size.
    pub(crate) fn config(
        &self,
        train_images: usize,
        classes: usize,
        files: u64,
    ) -> Result<RunConfig, String> {
        let recipe = self.recipe();
        let network = self.model.network(recipe.train_size, classes)?;
        let lr = self.lr.unwrap_or(match self.optimizer {
            OptimizerChoice::Mac | OptimizerChoice::Sgd => 0.5,
            OptimizerChoice::Adamw => 0.001,
        });
        let weight_decay = self.weight_decay.unwrap_or(match self.optimizer {
            OptimizerChoice::Mac | OptimizerChoice::Sgd => recipe.mac.weight_decay,
            OptimizerChoice::Adamw => 0.05,
        });
        let course = Course::new()
            .with_lr(lr)
            .with_epochs(self.epochs)
            .with_steps(self.steps)
            .with_batch_size(self.batch_size)
            .with_seed(self.seed);
        let steps = course.number_of_steps(train_images);
        let usual_decay = recipe.average.then(|| recipe::ema_decay(steps));
        Ok(RunConfig {
            classes,
            train_images,
            files,
            network,
            optimizer: OptimizerPlan::new(self.optimizer, lr, recipe.mac.clone())
                .with_momentum(self.momentum)
                .with_sgd_nesterov(recipe.sgd_nesterov)
                .with_weight_decay(weight_decay)
                .with_auxiliary_lr(self.mac.auxiliary_lr)
                .with_input_covariance(!self.mac.no_input_covariance),
            recipe,
            ema_decay: match self.ema_decay {
                None => usual_decay,
                given => given.filter(|decay| *decay > 0.0),
            },
            warmup_epochs: self.warmup_epochs,
            course,
        })
    }

    /// The network, as named on the command line.
    pub(crate) fn model_name(&self) -> String {
        let value = self.model.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_string())
    }

    fn recipe(&self) -> Recipe {
        let (paper, images, mac) = (self.model.recipe(), &self.images, &self.mac);
        let config = paper.mac;
        let config = config
            .clone()
            .with_momentum(self.momentum)
            .with_weight_decay(self.weight_decay.unwrap_or(config.weight_decay))
            .with_damping(mac.damping.unwrap_or(config.damping))
            .with_stat_decay(mac.stat_decay.unwrap_or(config.stat_decay))
            .with_tcov(mac.tcov.unwrap_or(config.tcov))
            .with_tinv(mac.tinv.unwrap_or(config.tinv));
        let erasing = RandomErasing {
            probability: images.random_erase.unwrap_or(paper.erasing.probability),
            ..paper.erasing
        };
        let automatic = images.auto_augment.map(|choice| choice.0);
        Recipe {
            mac: config,
            train_size: images.image_size.unwrap_or(paper.train_size),
            valid_size: images.image_size.unwrap_or(paper.valid_size),
            automatic: automatic.unwrap_or(paper.automatic),
            erasing,
            repeats: images.repeats.unwrap_or(paper.repeats),
            mixup: images.mixup.unwrap_or(paper.mixup),
            cutmix: images.cutmix.unwrap_or(paper.cutmix),
            label_smoothing: images.label_smoothing.unwrap_or(paper.label_smoothing),
            warmup_start: self.warmup_start.unwrap_or(paper.warmup_start),
            ..paper
        }
    }
}

#[cfg(test)]
mod tests;
