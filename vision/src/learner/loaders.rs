//! The batches of a run.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::Dataset;
use burn::data::dataset::transform::{PartialDataset, ShuffledDataset};
use burn::tensor::backend::AutodiffBackend;
use mac_burn::InputCovariance;

use super::{Classifier, Course, EpochBatcher, EpochLoader};
use crate::image_network::ImageNetwork;
use mac_burn_examples::image_batch::ImageBatch;
use mac_burn_examples::image_data::ImageData;

/// The data loaders of a run.
pub struct Loaders<B: AutodiffBackend> {
    /// The training set, in the order of each epoch that is left.
    pub train: Arc<dyn DataLoader<B, ImageBatch<B>>>,
    /// The training set in its own order, as far as the run gets in it: what is measured before training must not take
    /// the order of an epoch.
    pub train_in_order: Arc<dyn DataLoader<B, ImageBatch<B>>>,
    /// The validation set.
    pub valid: Arc<dyn DataLoader<B::InnerBackend, ImageBatch<B::InnerBackend>>>,
    /// The number of images in the training set.
    pub train_images: usize,
}

impl<B: AutodiffBackend> Loaders<B> {
    /// Of the epochs of `course` after the first `done`; batches are made by `workers` threads in the background, or
    /// by the thread that trains if there are none.
    ///
    /// The order of the images does not depend on whether there is a worker. Burn hands over the batches of several in
    /// the order in which they happen to be ready, so with more than one a run cannot be repeated.
    pub fn new<I, D, Bt>(
        data: ImageData<D, Bt>,
        course: &Course,
        done: usize,
        workers: usize,
    ) -> Self
    where
        I: Clone + std::fmt::Debug + Send + Sync + 'static,
        D: Dataset<I> + 'static,
        Bt: Batcher<B, I, ImageBatch<B>>
            + Batcher<B::InnerBackend, I, ImageBatch<B::InnerBackend>>
            + EpochBatcher
            + 'static,
    {
        let train = Arc::new(data.train);
        let images = train.len();
        let builder = |seed| {
            DataLoaderBuilder::new(data.batcher.of_epoch(seed))
                .batch_size(course.batch_size)
                .num_workers(workers)
        };
        // Not the builder's `shuffle`: that gives another order with a worker than without.
        let epoch = |epoch| {
            let seed = course.order_seed(epoch);
            let shuffled = ShuffledDataset::new(train.clone(), seed);
            let end = course.images_of_epoch(epoch, images);
            builder(seed).build(PartialDataset::new(shuffled, 0, end))
        };
        let in_order = PartialDataset::new(train.clone(), 0, course.images_of_epoch(0, images));

        Self {
            train: Arc::new(EpochLoader::new(
                (done..course.number_of_epochs(images)).map(epoch),
            )),
            train_in_order: builder(course.seed_before_training()).build(in_order),
            valid: DataLoaderBuilder::new(data.batcher.clone())
                .batch_size(course.batch_size)
                .num_workers(workers)
                .build(data.valid),
            train_images: images,
        }
    }

    /// Measures the curvature of the first layer of `model` over the training set: its input never changes, so once,
    /// before training, is enough. Images are changed as in training, as the authors' code has it.
    pub fn input_covariance<N: ImageNetwork<B>>(
        &self,
        model: &Classifier<B, N>,
    ) -> InputCovariance<B> {
        let mut covariance = model.network.input_covariance();
        for batch in self.train_in_order.iter() {
            covariance.update(batch.images);
        }
        covariance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tensor;
    use burn::tensor::backend::Backend;

    use mac_burn_examples::backend::Training;
    use mac_burn_examples::digits::{DigitItem, DigitsBatcher, DigitsDataset};

    /// Makes batches that tell the seed of their epoch.
    #[derive(Clone)]
    struct SeedBatcher(u64);

    impl EpochBatcher for SeedBatcher {
        fn of_epoch(&self, seed: u64) -> Self {
            Self(seed)
        }
    }

    impl<B: Backend> Batcher<B, DigitItem, ImageBatch<B>> for SeedBatcher {
        fn batch(&self, items: Vec<DigitItem>, device: &B::Device) -> ImageBatch<B> {
            ImageBatch {
                images: Tensor::zeros([items.len(), 1, 1, 1], device),
                targets: Tensor::full([items.len()], self.0 as i64, device),
            }
        }
    }

    fn course() -> Course {
        Course::new().with_batch_size(8)
    }

    fn data<Bt>(batcher: Bt) -> ImageData<PartialDataset<DigitsDataset, DigitItem>, Bt> {
        ImageData {
            train: PartialDataset::new(DigitsDataset::train(), 0, 50),
            valid: PartialDataset::new(DigitsDataset::test(), 0, 8),
            batcher,
        }
    }

    fn loaders(course: &Course, done: usize, workers: usize) -> Loaders<Training> {
        Loaders::new(data(DigitsBatcher), course, done, workers)
    }

    fn next_labels(loaders: &Loaders<Training>) -> Vec<i64> {
        let batches = loaders.train.iter();
        let labels = batches.flat_map(|batch| batch.targets.into_data().iter().collect::<Vec<_>>());
        labels.collect()
    }

    /// The labels of two epochs, the first of them that after `done`.
    fn labels(done: usize, workers: usize) -> [Vec<i64>; 2] {
        let loaders = loaders(&course(), done, workers);
        [(); 2].map(|()| next_labels(&loaders))
    }

    #[test]
    fn the_order_depends_on_the_epoch_and_not_on_who_makes_the_batches() {
        let [first, second] = labels(0, 0);

        assert_ne!(first, second);
        assert_eq!(labels(0, 1), [first, second.clone()]);
        assert_eq!(labels(1, 0)[0], second);
    }

    /// Without it, all epochs would see the same crops of the images, or a resumed run those of its first epochs.
    #[test]
    fn the_images_of_an_epoch_are_changed_by_the_seed_of_the_epoch() {
        let course = course();
        let loaders = |done| Loaders::<Training>::new(data(SeedBatcher(7)), &course, done, 0);
        let seeds = [0, 1].map(|epoch| vec![course.order_seed(epoch) as i64; 50]);

        let whole = loaders(0);
        assert_eq!([(); 2].map(|()| next_labels(&whole)), seeds);
        assert_eq!(next_labels(&loaders(1)), seeds[1]);
        let valid = whole.valid.iter().next().expect("there is one");
        assert_eq!(valid.targets.into_data().iter::<i64>().next(), Some(7));
    }

    #[test]
    fn a_run_of_steps_sees_the_images_of_a_longer_one_until_it_ends() {
        // An epoch of 50 images has 7 batches.
        let loaders = loaders(&course().with_steps(Some(9)), 0, 0);
        let [first, second] = labels(0, 0);

        assert_eq!(next_labels(&loaders), first);
        assert_eq!(next_labels(&loaders), second[..16]);
        assert_eq!(loaders.train_images, 50);
    }
}
