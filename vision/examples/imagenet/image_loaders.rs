//! The batches of a run.

use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::data::dataset::{Dataset, InMemDataset};
use burn::tensor::backend::AutodiffBackend;
use burn::train::Interrupter;
use mac_burn::InputCovariance;
use mac_burn_examples::image_batch::ImageBatch;
use mac_burn_examples::image_files::{ImageFile, ImageFiles};
use mac_burn_vision::augment::{MixedBatch, Mixing};
use mac_burn_vision::image_network::ImageNetwork;
use mac_burn_vision::learner::{EpochBatcher, EpochLoader, LoaderPlan, OrderedLoader};

use crate::run_config::RunConfig;

/// Images that the covariance of the first layer is measured over, at most: it has a few hundred rows, and each image has
/// thousands of patches.
const MEASURED: usize = 8192;

/// The data loaders of a run.
pub(crate) struct ImageLoaders<B: AutodiffBackend> {
    /// The training set, in the order of each epoch that is left.
    pub(crate) train: Arc<dyn DataLoader<B, MixedBatch<B>>>,
    /// Some training images of all classes, changed as in training but not mixed, and each once.
    pub(crate) measured: Arc<dyn DataLoader<B, MixedBatch<B>>>,
    /// The validation set.
    pub(crate) valid: Arc<dyn DataLoader<B::InnerBackend, ImageBatch<B::InnerBackend>>>,
}

impl<B: AutodiffBackend> ImageLoaders<B> {
    /// Of the epochs of a run after the first `done`; batches are made by `workers` threads, or by the one that trains. A
    /// file that is no image stops the run by its `interrupter`.
    pub(crate) fn new(
        files: ImageFiles,
        config: &RunConfig,
        done: usize,
        workers: usize,
        interrupter: &Interrupter,
    ) -> Self {
        let course = &config.course;
        let plan = |shuffle, items| LoaderPlan {
            batch_size: course.batch_size,
            workers,
            shuffle,
            items,
            repeats: 1,
        };
        let train: Arc<dyn Dataset<ImageFile>> = Arc::new(InMemDataset::new(files.train));
        let images = train.len();
        let batcher = config.training_batcher();
        let epoch = |epoch| -> Arc<dyn DataLoader<B, MixedBatch<B>>> {
            let seed = course.order_seed(epoch);
            let plan = LoaderPlan {
                repeats: config.recipe.repeats,
                ..plan(Some(seed), course.images_of_epoch(epoch, images))
            };
            let batcher = batcher.of_epoch(seed);
            Arc::new(OrderedLoader::new(
                train.clone(),
                batcher,
                plan,
                interrupter.clone(),
            ))
        };
        let mut unmixed = batcher.of_epoch(course.seed_before_training());
        unmixed.mixing = Mixing {
            mixup: 0.0,
            cutmix: 0.0,
        };
        let measured = plan(Some(course.seed_before_training()), MEASURED);
        let valid = Arc::new(InMemDataset::new(files.valid));
        Self {
            train: Arc::new(EpochLoader::new((done..config.epochs()).map(epoch))),
            measured: Arc::new(OrderedLoader::new(
                train.clone(),
                unmixed,
                measured,
                interrupter.clone(),
            )),
            valid: Arc::new(OrderedLoader::new(
                valid,
                config.validation_batcher(),
                plan(None, usize::MAX),
                interrupter.clone(),
            )),
        }
    }

    /// Measures the curvature of the first layer of a network.
    pub(crate) fn input_covariance(&self, network: &impl ImageNetwork<B>) -> InputCovariance<B> {
        let mut covariance = network.input_covariance();
        for batch in self.measured.iter() {
            covariance.update(batch.images);
        }
        covariance
    }
}
