//! The command line of the example.

use std::path::{Path, PathBuf};

use clap::Parser;
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::interval::{at_least_one, number_in};
use mac_burn_examples::optimizers::{OptimizerArgs, OptimizerChoice, OptimizerDefaults};
use mac_burn_examples::training::{Batches, Course, RunArgs, Schedule};
use mac_burn_vision::augment::RandomErasing;

use crate::automatic_choice::AutomaticChoice;
use crate::model_choice::ModelChoice;
use crate::recipe::{self, Recipe, WARMUP_EPOCHS};
use crate::run_config::RunConfig;

const BATCH_SIZE: usize = 1024;

const ARTIFACTS: &str = "target/imagenet";

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

    /// How images are changed.
    #[command(flatten)]
    images: ImageArgs,

    /// Number of epochs, each of as many images as the training set has
    #[arg(long, default_value_t = 100, value_parser = at_least_one(), conflicts_with = "steps")]
    epochs: usize,

    /// Learning rate at the start of the warm-up, as a fraction of --lr, in [0, 1) [default: 0.01 for ResNets, 0.1 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..1.0))]
    warmup_start: Option<f64>,

    /// Decay per step of an exponential moving average of the parameters (EMA), in [0, 1), which is validated and stored at the
    /// end; 0 disables it. Until the warm-up is over it is a copy [default: 1 - 25.6 / steps of the run for ResNets, 0 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..1.0))]
    ema_decay: Option<f64>,

    /// Data-loading threads; with 0 the training thread loads. The run does not depend on their number
    #[arg(long, default_value_t = 4)]
    pub(crate) workers: usize,

    /// The course of the run; the learning rates are for batches of 1024.
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// The optimizer; SGD's momentum is Nesterov's for transformers, as in timm, and the learning rate's cosine begins after the
    /// warm-up for ResNets and with the first step for transformers.
    #[command(flatten)]
    pub(crate) optimizer: OptimizerArgs,
}

#[derive(clap::Args, Debug)]
struct ImageArgs {
    /// Height and width of the images; a multiple of 16 for DeiT, of 4 for Swin
    /// [default: 224, but ResNets train on 176]
    #[arg(long, value_parser = at_least_one())]
    image_size: Option<usize>,

    /// Automatic augmentation policy [default: ta_wide for ResNets, rand-m9-mstd0.5-inc1 for transformers]
    #[arg(long, value_enum)]
    auto_augment: Option<AutomaticChoice>,

    /// Probability of random erasing, in [0, 1]; ResNets see the mean color in its place, transformers noise
    /// [default: 0.1 for ResNets, 0.25 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..=1.0))]
    random_erase: Option<f64>,

    /// Repeated augmentation: how many differently augmented copies of an image follow each other. An epoch has as many images
    /// as with 1, of which fewer are different [default: 4 for ResNets, 3 for transformers]
    #[arg(long, value_parser = at_least_one())]
    repeats: Option<usize>,

    /// α of mixup, 0 or more; 0 turns it off [default: 0.2 for ResNets, 0.8 for transformers]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    mixup: Option<f64>,

    /// α of cutmix, 0 or more; 0 turns it off [default: 1]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    cutmix: Option<f64>,

    /// Label smoothing, in [0, 1] [default: 0.1]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..=1.0))]
    label_smoothing: Option<f64>,
}

impl ChoosesOptimizer for Args {
    fn optimizer(&self) -> OptimizerChoice {
        let defaults = self.model.recipe().optimizer_defaults(1);
        self.optimizer.choice(&defaults)
    }

    fn defaults() -> Vec<(&'static str, String)> {
        let [resnet, transformer] = [Recipe::resnet(), Recipe::transformer()]
            .map(|recipe| recipe.optimizer_defaults(1).in_words());
        let optimizer = resnet.into_iter().zip(transformer);
        let optimizer = optimizer.map(|((option, resnet), (_, transformer))| {
            let text = match (option, resnet == transformer) {
                ("warmup", _) => format!("those of {WARMUP_EPOCHS} epochs"),
                (_, true) => resnet,
                (_, false) => format!("{resnet}; transformers: {transformer}"),
            };
            (option, text)
        });
        let run = Course::of_epochs_in_words(BATCH_SIZE, ARTIFACTS);
        run.into_iter().chain(optimizer).collect()
    }
}

impl Args {
    /// The folder of the images.
    pub(crate) fn root(&self) -> &Path {
        let given = self.root.as_ref().or(self.data_dir.as_ref());
        // clap asks for one of the two.
        given.map_or(Path::new("."), PathBuf::as_path)
    }

    /// The course of a run on as many images.
    pub(crate) fn course(&self, train_images: usize) -> Course {
        self.run
            .course_of_epochs(self.epochs, train_images, BATCH_SIZE, ARTIFACTS)
    }

    /// The options of the optimizer that are not given, in a run on as many images.
    pub(crate) fn optimizer_defaults(&self, train_images: usize) -> OptimizerDefaults {
        let batch_size = self.course(train_images).batch_size;
        let epoch = Batches::new(train_images, batch_size, 0).steps_of_an_epoch();
        self.model.recipe().optimizer_defaults(epoch)
    }

    /// The learning rates of a run on as many images.
    pub(crate) fn schedule(&self, train_images: usize) -> Schedule {
        let (recipe, steps) = (self.recipe(), self.course(train_images).steps);
        let defaults = self.optimizer_defaults(train_images);
        Schedule {
            warmup_start: recipe.warmup_start,
            whole_cosine: recipe.whole_cosine,
            ..self.optimizer.schedule(&defaults, steps)
        }
    }

    /// The decay of the average of the parameters in each step; none keeps none.
    pub(crate) fn average(&self, train_images: usize) -> Option<f64> {
        let steps = self.course(train_images).steps;
        let usual = self.recipe().average.then(|| recipe::ema_decay(steps));
        match self.ema_decay {
            None => usual,
            given => given.filter(|decay| *decay > 0.0),
        }
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
        Ok(RunConfig {
            classes,
            train_images,
            files,
            network: self.model.network(recipe.train_size, classes)?,
            recipe,
        })
    }

    fn recipe(&self) -> Recipe {
        let (paper, images) = (self.model.recipe(), &self.images);
        let erasing = RandomErasing {
            probability: images.random_erase.unwrap_or(paper.erasing.probability),
            ..paper.erasing
        };
        let automatic = images.auto_augment.map(|choice| choice.0);
        Recipe {
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
