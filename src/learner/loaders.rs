//! The batches of a run.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::Dataset;
use burn::data::dataset::transform::ShuffledDataset;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::InputCovariance;

use super::{Classifier, EpochLoader, RunConfig};
use crate::image_batch::ImageBatch;
use crate::image_data::ImageData;

/// The data loaders of a run.
pub struct Loaders<B: AutodiffBackend> {
    /// The training set, in the order of each epoch that is left.
    pub train: Arc<dyn DataLoader<B, ImageBatch<B>>>,
    /// The training set in its own order: what is measured before training must not take the order of an epoch.
    pub train_in_order: Arc<dyn DataLoader<B, ImageBatch<B>>>,
    /// The validation set.
    pub valid: Arc<dyn DataLoader<B::InnerBackend, ImageBatch<B::InnerBackend>>>,
}

impl<B: AutodiffBackend> Loaders<B> {
    /// Of the epochs of `config` after the first `done`; batches are made by `workers` threads in the background, or
    /// by the thread that trains if there are none.
    ///
    /// The order of the images does not depend on whether there is a worker. Burn hands over the batches of several in
    /// the order in which they happen to be ready, so with more than one a run cannot be repeated.
    pub fn new<I, D, Bt>(
        data: ImageData<D, Bt>,
        config: &RunConfig,
        done: usize,
        workers: usize,
    ) -> Self
    where
        I: Clone + std::fmt::Debug + Send + Sync + 'static,
        D: Dataset<I> + 'static,
        Bt: Batcher<B, I, ImageBatch<B>>
            + Batcher<B::InnerBackend, I, ImageBatch<B::InnerBackend>>
            + Clone
            + 'static,
    {
        let train = Arc::new(data.train);
        let builder = || {
            DataLoaderBuilder::new(data.batcher.clone())
                .batch_size(config.batch_size)
                .num_workers(workers)
        };
        // Not the builder's `shuffle`: that gives another order with a worker than without.
        let epoch = |epoch| {
            let seed = config.order_seed(epoch);
            builder().build(ShuffledDataset::new(train.clone(), seed))
        };

        Self {
            train: Arc::new(EpochLoader::new((done..config.epochs).map(epoch))),
            train_in_order: builder().build(train.clone()),
            valid: DataLoaderBuilder::new(data.batcher.clone())
                .batch_size(config.batch_size)
                .num_workers(workers)
                .build(data.valid),
        }
    }

    /// Measures the curvature of the first layer of `model` over the training set: its input never changes, so once,
    /// before training, is enough.
    pub fn input_covariance(&self, model: &Classifier<B>) -> InputCovariance<B> {
        let mut covariance = InputCovariance::of(&model.network.conv1);
        for batch in self.train_in_order.iter() {
            covariance.update(batch.images);
        }
        covariance
    }
}

#[cfg(test)]
mod tests {
    use burn::data::dataset::transform::PartialDataset;
    use mac_burn_models::LeNetConfig;

    use super::*;
    use crate::backend::Training;
    use crate::digits::{DigitsBatcher, DigitsDataset};

    /// The labels of two epochs, the first of them that after `done`.
    fn labels(done: usize, workers: usize) -> [Vec<i64>; 2] {
        let data = ImageData {
            train: PartialDataset::new(DigitsDataset::train(), 0, 50),
            valid: PartialDataset::new(DigitsDataset::test(), 0, 8),
            batcher: DigitsBatcher,
        };
        let config = RunConfig::new(LeNetConfig::new([8, 8])).with_batch_size(8);
        let loaders = Loaders::<Training>::new(data, &config, done, workers);
        [(); 2].map(|()| {
            let batches = loaders.train.iter();
            let labels =
                batches.flat_map(|batch| batch.targets.into_data().iter().collect::<Vec<_>>());
            labels.collect()
        })
    }

    #[test]
    fn the_order_depends_on_the_epoch_and_not_on_who_makes_the_batches() {
        let [first, second] = labels(0, 0);

        assert_ne!(first, second);
        assert_eq!(labels(0, 1), [first, second.clone()]);
        assert_eq!(labels(1, 0)[0], second);
    }
}
