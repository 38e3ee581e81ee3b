//! A data loader for runs that are resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::tensor::backend::Backend;

/// One data loader for each epoch: each [`iter`](DataLoader::iter) iterates over the next.
///
/// A shuffled data loader of Burn draws the order of an epoch from a generator that the epochs before have advanced, and
/// no checkpoint holds its state. With a loader for each epoch, made from the seed of that epoch, a resumed run is given
/// the loaders of the epochs that are left, and sees their images in the order that it would have seen them in.
pub struct EpochLoader<B: Backend, O> {
    epochs: Vec<Arc<dyn DataLoader<B, O>>>,
    next: AtomicUsize,
}

impl<B: Backend, O> EpochLoader<B, O> {
    /// Of the loaders of the epochs that are to come, in their order.
    pub fn new(epochs: impl IntoIterator<Item = Arc<dyn DataLoader<B, O>>>) -> Self {
        Self {
            epochs: epochs.into_iter().collect(),
            next: AtomicUsize::new(0),
        }
    }

    fn map(&self, change: impl Fn(&dyn DataLoader<B, O>) -> Arc<dyn DataLoader<B, O>>) -> Self {
        Self {
            epochs: self
                .epochs
                .iter()
                .map(|epoch| change(epoch.as_ref()))
                .collect(),
            next: AtomicUsize::new(self.next.load(Ordering::Relaxed)),
        }
    }
}

impl<B: Backend, O: 'static> DataLoader<B, O> for EpochLoader<B, O> {
    /// # Panics
    /// If there is no epoch left.
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        match self.epochs.get(next) {
            Some(epoch) => epoch.iter(),
            None => panic!("all {} epochs have been iterated over", self.epochs.len()),
        }
    }

    fn num_items(&self) -> usize {
        self.epochs.first().map_or(0, |epoch| epoch.num_items())
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(self.map(|epoch| epoch.to_device(device)))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(self.map(|epoch| epoch.slice(start, end)))
    }
}

#[cfg(test)]
mod tests {
    use burn::data::dataloader::DataLoaderBuilder;
    use burn::data::dataloader::batcher::Batcher;
    use burn::data::dataset::InMemDataset;

    use super::*;
    use mac_burn_examples::backend::Selected;

    const ITEMS: usize = 20;

    struct Numbers;

    impl<B: Backend> Batcher<B, usize, Vec<usize>> for Numbers {
        fn batch(&self, items: Vec<usize>, _device: &B::Device) -> Vec<usize> {
            items
        }
    }

    fn shuffled(seed: usize) -> Arc<dyn DataLoader<Selected, Vec<usize>>> {
        DataLoaderBuilder::new(Numbers)
            .batch_size(3)
            .shuffle(seed as u64)
            .build(InMemDataset::new((0..ITEMS).collect()))
    }

    fn next_epoch(loader: &dyn DataLoader<Selected, Vec<usize>>) -> Vec<usize> {
        loader.iter().flatten().collect()
    }

    #[test]
    fn an_epoch_has_the_same_order_whichever_epoch_the_loader_begins_with() {
        // As the learner does, which moves the loader to its device first.
        let from = |epoch: usize| {
            EpochLoader::new((epoch..3).map(shuffled)).to_device(&Default::default())
        };
        let whole = from(0);
        let epochs = [(); 3].map(|()| next_epoch(whole.as_ref()));

        let resumed = from(1);
        assert_eq!(next_epoch(resumed.as_ref()), epochs[1]);
        assert_eq!(next_epoch(resumed.as_ref()), epochs[2]);
        assert_ne!(epochs[1], epochs[2]);
    }

    #[test]
    fn each_epoch_has_every_item_once() {
        let loader = EpochLoader::new((0..2).map(shuffled));

        for _ in 0..2 {
            let mut items = next_epoch(&loader);
            items.sort_unstable();
            assert_eq!(items, (0..ITEMS).collect::<Vec<_>>());
        }
        assert_eq!(loader.num_items(), ITEMS);
    }

    #[test]
    fn a_slice_has_its_items_in_each_epoch_that_is_left() {
        let loader = EpochLoader::new((0..2).map(shuffled));
        next_epoch(&loader);

        let slice = loader.slice(5, 9);

        let mut items = next_epoch(slice.as_ref());
        items.sort_unstable();
        assert_eq!(items, [5, 6, 7, 8]);
        assert_eq!(slice.num_items(), 4);
    }

    #[test]
    #[should_panic(expected = "all 1 epochs have been iterated over")]
    fn there_is_no_order_for_an_epoch_that_the_run_does_not_have() {
        let loader = EpochLoader::new([shuffled(0)]);
        next_epoch(&loader);
        next_epoch(&loader);
    }
}
