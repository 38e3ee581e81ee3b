//! Batches made by several threads, in an order that does not depend on them.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::Dataset;
use burn::data::dataset::transform::{PartialDataset, ShuffledDataset};
use burn::tensor::backend::Backend;
use burn::train::Interrupter;

use super::Repeated;
use super::repeated::RepeatedDataset;

/// Batches that a thread has ready at most, besides the one that it makes.
const READY: usize = 1;

/// A batch that could not be made.
pub type BatchError = Box<dyn Error + Send + Sync>;

/// A data loader for items that are expensive to read, such as files of images.
///
/// Burn's loader hands over the batches of several threads in the order in which they happen to be ready, and lets a
/// hundred of them wait, which for images of 224×224 is more than many machines have room for. Here the first thread makes the
/// first batch and each next thread the next, and they are handed over in turns; a thread whose two batches nobody
/// wants yet waits. So a run can be repeated with any number of threads.
///
/// A batch that cannot be made ends the epoch, and the training by its [`Interrupter`], with the error as the reason.
pub struct OrderedLoader<B: Backend, I, O> {
    dataset: Arc<dyn Dataset<I>>,
    batcher: Arc<dyn Batcher<B, Repeated<I>, Result<O, BatchError>>>,
    plan: LoaderPlan,
    interrupter: Interrupter,
    device: B::Device,
}

/// In what batches the items of a data set come, and who makes them.
#[derive(Clone, Copy, Debug)]
pub struct LoaderPlan {
    /// Items in a batch, at least 1; the last may have fewer.
    pub batch_size: usize,
    /// Threads that make batches; with none, the one that asks makes them.
    pub workers: usize,
    /// The seed of the order of the items; none leaves them in their own.
    pub shuffle: Option<u64>,
    /// How many items there are at most: the first ones of the order.
    pub items: usize,
    /// How often an item comes in a row, at least 1. There are as many items as without: those of the beginning of the order more
    /// often, and the others not at all.
    pub repeats: usize,
}

impl<B: Backend, I, O> Clone for OrderedLoader<B, I, O> {
    fn clone(&self) -> Self {
        Self {
            dataset: self.dataset.clone(),
            batcher: self.batcher.clone(),
            plan: self.plan,
            interrupter: self.interrupter.clone(),
            device: self.device.clone(),
        }
    }
}

impl<B, I, O> OrderedLoader<B, I, O>
where
    B: Backend,
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    /// Of the items of a data set. Their order is drawn when an epoch begins, so a loader for each epoch of a long run is
    /// small.
    pub fn new(
        dataset: Arc<dyn Dataset<I>>,
        batcher: impl Batcher<B, Repeated<I>, Result<O, BatchError>> + 'static,
        plan: LoaderPlan,
        interrupter: Interrupter,
    ) -> Self {
        Self {
            dataset,
            batcher: Arc::new(batcher),
            plan,
            interrupter,
            device: Default::default(),
        }
    }

    fn ordered(&self) -> Arc<dyn Dataset<Repeated<I>>> {
        let items: Arc<dyn Dataset<I>> = match self.plan.shuffle {
            Some(seed) => Arc::new(ShuffledDataset::new(self.dataset.clone(), seed)),
            None => self.dataset.clone(),
        };
        Arc::new(RepeatedDataset::new(items, self.plan.repeats))
    }

    fn items(&self) -> usize {
        self.dataset.len().min(self.plan.items)
    }
}

impl<B, I, O> DataLoader<B, O> for OrderedLoader<B, I, O>
where
    B: Backend,
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let maker = Maker {
            dataset: self.ordered(),
            batcher: self.batcher.clone(),
            items: self.items(),
            batch_size: self.plan.batch_size,
            device: self.device.clone(),
        };
        let workers = (0..self.plan.workers).map(|index| {
            let (maker, step) = (maker.clone(), self.plan.workers);
            Worker::start(index, step, maker)
        });
        Box::new(OrderedBatches {
            workers: workers.collect(),
            maker,
            next: 0,
            interrupter: self.interrupter.clone(),
        })
    }

    fn num_items(&self) -> usize {
        self.items()
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, O>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, O>> {
        let dataset = PartialDataset::new(self.dataset.clone(), start, end);
        Arc::new(Self {
            dataset: Arc::new(dataset),
            ..self.clone()
        })
    }
}

/// The maker of an epoch's batches.
struct Maker<B: Backend, I, O> {
    dataset: Arc<dyn Dataset<Repeated<I>>>,
    batcher: Arc<dyn Batcher<B, Repeated<I>, Result<O, BatchError>>>,
    items: usize,
    batch_size: usize,
    device: B::Device,
}

impl<B: Backend, I, O> Clone for Maker<B, I, O> {
    fn clone(&self) -> Self {
        Self {
            dataset: self.dataset.clone(),
            batcher: self.batcher.clone(),
            device: self.device.clone(),
            ..*self
        }
    }
}

impl<B: Backend, I, O> Maker<B, I, O> {
    /// The batch of this index, if there is one.
    fn make(&self, index: usize) -> Option<Result<O, BatchError>> {
        let end = self.end(index);
        let items: Vec<Repeated<I>> = (index * self.batch_size..end)
            .filter_map(|item| self.dataset.get(item))
            .collect();
        (!items.is_empty()).then(|| self.batcher.batch(items, &self.device))
    }

    /// The number of items in batches up to this one.
    fn end(&self, index: usize) -> usize {
        ((index + 1) * self.batch_size).min(self.items)
    }
}

/// A thread that makes every so many-th batch.
struct Worker<O> {
    /// Taken when the worker is stopped: a thread that waits for room ends when there is nobody to receive.
    batches: Option<Receiver<Result<O, BatchError>>>,
    thread: Option<JoinHandle<()>>,
}

impl<O: Send + 'static> Worker<O> {
    fn start<B: Backend, I: Send + Sync + 'static>(
        first: usize,
        step: usize,
        maker: Maker<B, I, O>,
    ) -> Self {
        let (sender, batches) = sync_channel(READY);
        let thread = thread::spawn(move || {
            for index in (first..).step_by(step) {
                let Some(batch) = maker.make(index) else {
                    return;
                };
                if sender.send(batch).is_err() {
                    return;
                }
            }
        });
        Self {
            batches: Some(batches),
            thread: Some(thread),
        }
    }
}

impl<O> Worker<O> {
    /// The next batch. A thread that panicked has printed why, and its batch is an error.
    fn next(&mut self) -> Option<Result<O, BatchError>> {
        if let Ok(batch) = self.batches.as_ref()?.recv() {
            return Some(batch);
        }
        match self.thread.take()?.join() {
            Ok(()) => None,
            Err(_) => Some(Err("a thread that makes batches panicked".into())),
        }
    }
}

impl<O> Drop for Worker<O> {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct OrderedBatches<B: Backend, I, O> {
    workers: Vec<Worker<O>>,
    maker: Maker<B, I, O>,
    next: usize,
    interrupter: Interrupter,
}

impl<B: Backend, I, O> Iterator for OrderedBatches<B, I, O> {
    type Item = O;

    fn next(&mut self) -> Option<O> {
        let batch = if self.workers.is_empty() {
            self.maker.make(self.next)?
        } else {
            let turn = self.next % self.workers.len();
            self.workers[turn].next()?
        };
        self.next += 1;
        batch
            .inspect_err(|error| self.interrupter.stop(Some(&error.to_string())))
            .ok()
    }
}

impl<B: Backend, I, O> DataLoaderIterator<O> for OrderedBatches<B, I, O> {
    fn progress(&self) -> Progress {
        let done = self.next.checked_sub(1);
        Progress::new(
            done.map_or(0, |index| self.maker.end(index)),
            self.maker.items,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use burn::data::dataset::InMemDataset;

    use super::*;
    use mac_burn_examples::backend::Selected;

    const ITEMS: usize = 23;

    /// Later batches are ready sooner, and the item 17 cannot be read if that is wanted.
    struct Hasty {
        fails: bool,
    }

    impl Batcher<Selected, Repeated<usize>, Result<Vec<usize>, BatchError>> for Hasty {
        fn batch(
            &self,
            items: Vec<Repeated<usize>>,
            _device: &<Selected as burn::tensor::backend::BackendTypes>::Device,
        ) -> Result<Vec<usize>, BatchError> {
            let items: Vec<_> = items.into_iter().map(|repeated| repeated.item).collect();
            thread::sleep(Duration::from_millis((ITEMS - items[0]) as u64 / 4));
            if self.fails && items.contains(&17) {
                return Err("item 17 is broken".into());
            }
            Ok(items)
        }
    }

    fn loader(workers: usize, fails: bool) -> OrderedLoader<Selected, usize, Vec<usize>> {
        let plan = LoaderPlan {
            batch_size: 4,
            workers,
            shuffle: None,
            items: usize::MAX,
            repeats: 1,
        };
        let dataset = Arc::new(InMemDataset::new((0..ITEMS).collect()));
        OrderedLoader::new(dataset, Hasty { fails }, plan, Interrupter::new())
    }

    fn batches(loader: &OrderedLoader<Selected, usize, Vec<usize>>) -> Vec<Vec<usize>> {
        loader.iter().collect()
    }

    /// Breaks when batches are handed over as soon as they are ready.
    #[test]
    fn the_batches_are_those_of_one_thread_however_many_there_are() {
        for workers in [0, 1, 2, 5, 9] {
            let all = batches(&loader(workers, false));
            assert_eq!(all.len(), 6);
            assert_eq!(all.concat(), (0..ITEMS).collect::<Vec<_>>(), "{workers}");
            assert_eq!(all[5], [20, 21, 22]);
        }
    }

    #[test]
    fn the_order_is_that_of_the_seed_and_a_limit_takes_its_beginning() {
        let mut shuffled = loader(2, false);
        shuffled.plan.shuffle = Some(3);
        let all = batches(&shuffled).concat();
        assert_eq!(batches(&shuffled).concat(), all, "epoch for epoch");
        assert_ne!(all, (0..ITEMS).collect::<Vec<_>>());

        shuffled.plan.items = 10;
        assert_eq!(batches(&shuffled).concat(), all[..10]);
        assert_eq!(shuffled.num_items(), 10);
    }

    /// Breaks when the repeats are shuffled, or an epoch becomes longer by them or is cut to whole rows: 23 items are 7 rows of 3
    /// and 2 of the next.
    #[test]
    fn repeats_come_in_a_row_and_an_epoch_has_as_many_items_as_without() {
        let mut repeated = loader(2, false);
        repeated.plan.shuffle = Some(3);
        let order = batches(&repeated).concat();

        repeated.plan.repeats = 3;
        let all = batches(&repeated).concat();
        assert_eq!(all.len(), ITEMS);
        assert_eq!(repeated.num_items(), ITEMS);
        for (row, item) in all.chunks(3).zip(order) {
            assert!(row.iter().all(|repeated| *repeated == item), "{row:?}");
        }
    }

    #[test]
    fn a_batch_that_cannot_be_made_ends_the_epoch_and_says_why() {
        for workers in [0, 1, 3] {
            let loader = loader(workers, true);
            assert_eq!(batches(&loader).len(), 4, "{workers}");
            assert!(loader.interrupter.should_stop());
            let reason = loader.interrupter.get_message();
            assert_eq!(reason.as_deref(), Some("item 17 is broken"));
        }
    }

    #[test]
    fn progress_counts_items_and_an_epoch_may_be_left_early() {
        let loader = loader(3, false);
        let mut batches = loader.iter();
        assert_eq!(batches.progress().items_processed, 0);
        batches.next();
        assert_eq!(batches.progress().items_processed, 4);
        let rest = batches.by_ref().count();
        assert_eq!(rest, 5);
        assert_eq!(batches.progress().items_processed, ITEMS);
        loader.iter().next();
    }

    #[test]
    fn a_slice_has_its_items() {
        let slice = loader(2, false).slice(3, 9);
        assert_eq!(
            slice.iter().flatten().collect::<Vec<_>>(),
            [3, 4, 5, 6, 7, 8]
        );
    }
}
