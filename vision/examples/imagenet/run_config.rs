//! The configuration of a run.

use std::sync::Arc;

use mac_burn_examples::images::Normalization;
use mac_burn_examples::images::files::{ImageFile, ImageFiles};
use mac_burn_examples::networks::NetworkConfig;
use mac_burn_examples::training::Batches;
use mac_burn_vision::ImageBatches;
use mac_burn_vision::augment::{
    CenterCrop, Mixing, RandomResizedCrop, TrainingImages, ValidationImages,
};
use mac_burn_vision::batches::{BatchError, BatchMaker};
use serde::Serialize;

use crate::recipe::Recipe;

/// Images that are validated on at a time.
const BATCH: usize = 128;

/// Images that the covariance of the first layer is measured over, at most: it has a few hundred rows, and each image has
/// thousands of patches.
const MEASURED: usize = 8192;

/// The settings that a run that continues must have in common with this one, besides the optimizer and what is in the files.
#[derive(Debug, Serialize)]
pub(crate) struct RunConfig {
    pub(crate) classes: usize,
    pub(crate) train_images: usize,
    /// By which other files are known, see [`fingerprint`](mac_burn_examples::images::files::ImageFiles::fingerprint).
    pub(crate) files: u64,
    pub(crate) network: NetworkConfig,
    /// The settings of the paper, or what the command line has in their place.
    pub(crate) recipe: Recipe,
}

impl RunConfig {
    /// The maker of batches to train on, in a run with a seed.
    pub(crate) fn training_images(&self, seed: u64) -> TrainingImages {
        let erasing = self.recipe.erasing;
        TrainingImages {
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
            seed,
        }
    }

    /// The maker of batches to validate with.
    pub(crate) fn validation_images(&self) -> ValidationImages {
        ValidationImages {
            crop: CenterCrop {
                size: self.recipe.valid_size,
                share: self.recipe.valid_share,
                interpolation: self.recipe.valid_interpolation,
            },
            normalization: Normalization::imagenet(),
        }
    }

    /// The batches of a run with a seed, made by as many threads. The first layer's inputs are measured on some images of all
    /// classes.
    pub(crate) fn batches(
        &self,
        files: ImageFiles,
        batch_size: usize,
        seed: u64,
        workers: usize,
    ) -> ImageBatches {
        let valid = files.valid;
        let files: Arc<Vec<ImageFile>> = Arc::new(files.train);
        let maker = |images: TrainingImages, order: Batches| {
            let files = Arc::clone(&files);
            move |step: usize| {
                let order = order.of_step(step);
                let batch: Vec<_> = order.iter().map(|index| &files[*index]).collect();
                images.batch(&batch, step).map_err(BatchError::new)
            }
        };
        let order = |seed| Batches::new(self.train_images, batch_size, seed);
        let repeats = self.recipe.repeats;
        let train = maker(
            self.training_images(seed),
            order(seed).with_repeats(repeats),
        );
        // Not in the order of an epoch of the training, nor changed as there.
        let mut unmixed = self.training_images(!seed);
        unmixed.mixing = Mixing {
            mixup: 0.0,
            cutmix: 0.0,
        };
        let images = self.train_images.min(MEASURED);
        let steps = (images / batch_size.min(images)).max(1);
        let measured = maker(unmixed, order(!seed));
        let images = self.validation_images();
        ImageBatches {
            train: BatchMaker::new(workers, move |step| Some(train(step))),
            measured: BatchMaker::new(workers, move |step| {
                (step < steps).then(|| Ok(measured(step)?.0))
            }),
            valid: BatchMaker::new(workers, move |index| {
                let batch = valid.chunks(BATCH).nth(index)?;
                Some(images.batch(batch).map_err(BatchError::new))
            }),
        }
    }
}
