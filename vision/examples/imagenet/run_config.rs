//! The configuration of a run.

use burn::config::Config;
use mac_burn_examples::training::{OptimizerPlan, Schedule};
use mac_burn_vision::augment::{
    CenterCrop, Mixing, Normalization, RandomResizedCrop, TrainingBatcher, ValidationBatcher,
};
use mac_burn_vision::learner::Course;
use mac_burn_vision::parameter_average::ParameterAverage;

use crate::recipe::Recipe;
use mac_burn_vision::networks::NetworkConfig;

/// Everything that decides the parameters at the end of a run, but for what is in the files of the images.
#[derive(Config, Debug)]
pub(crate) struct RunConfig {
    pub(crate) classes: usize,
    pub(crate) train_images: usize,
    /// By which other files are known, see [`fingerprint`](mac_burn_examples::image_files::ImageFiles::fingerprint).
    pub(crate) files: u64,
    pub(crate) network: NetworkConfig,
    /// The settings of the paper, or what the command line has in their place.
    pub(crate) recipe: Recipe,
    pub(crate) optimizer: OptimizerPlan,
    /// The decay of the average of the parameters in each step; none keeps none.
    pub(crate) ema_decay: Option<f64>,
    /// Epochs in which the learning rate rises.
    pub(crate) warmup_epochs: usize,
    pub(crate) course: Course,
}

impl RunConfig {
    pub(crate) fn epochs(&self) -> usize {
        self.course.number_of_epochs(self.train_images)
    }

    /// The course of the learning rate. It rises in at most half of the run, or short runs would not get to it.
    pub(crate) fn schedule(&self) -> Schedule {
        let steps = self.course.number_of_steps(self.train_images);
        let epoch = self.train_images.div_ceil(self.course.batch_size);
        Schedule {
            lr: self.course.lr,
            warmup: (self.warmup_epochs * epoch).min(steps / 2),
            warmup_start: self.recipe.warmup_start,
            steps,
            whole_cosine: self.recipe.whole_cosine,
        }
    }

    /// The average of the parameters, if one is kept: a copy of the network while the learning rate rises, and of the first
    /// step after that, as in torchvision's reference code.
    pub(crate) fn average<M>(&self, start: M) -> Option<ParameterAverage<M>> {
        let copies = self.schedule().warmup + 1;
        let average = |decay| ParameterAverage::new(start, decay).with_copies(copies);
        self.ema_decay.map(average)
    }

    /// The batcher of training images.
    pub(crate) fn training_batcher(&self) -> TrainingBatcher {
        let erasing = self.recipe.erasing;
        TrainingBatcher {
            crop: RandomResizedCrop {
                interpolation: self.recipe.train_interpolation,
                ..RandomResizedCrop::new(self.recipe.train_size)
            },
            automatic: self.recipe.automatic,
            normalization: Normalization::imagenet(),
            erasing: (erasing.probability > 0.0).then_some(erasing),
            mixing: Mixing {
                mixup: self.recipe.mixup,
                cutmix: self.recipe.cutmix,
            },
            classes: self.classes,
            label_smoothing: self.recipe.label_smoothing,
            seed: self.course.seed,
        }
    }

    /// The batcher of validation images.
    pub(crate) fn validation_batcher(&self) -> ValidationBatcher {
        ValidationBatcher {
            crop: CenterCrop {
                size: self.recipe.valid_size,
                share: self.recipe.valid_share,
                interpolation: self.recipe.valid_interpolation,
            },
            normalization: Normalization::imagenet(),
        }
    }
}
