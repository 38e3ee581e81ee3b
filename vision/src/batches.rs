//! Batches made by several threads, in an order that does not depend on them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use mac_burn_examples::training::stream;
use rand::SeedableRng;
use rand::rngs::StdRng;
use thiserror::Error;

/// Batches that a thread has ready at most, besides the one that it makes.
const READY: usize = 1;

/// Why a batch could not be made.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct BatchError(Box<dyn std::error::Error + Send + Sync>);

impl BatchError {
    /// For a reason.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

/// The random numbers of a place in the batch of a step: those of a resumed run are those of an uninterrupted one, and no thread
/// has to wait for another's.
pub fn random(seed: u64, step: usize, place: usize) -> StdRng {
    StdRng::seed_from_u64(stream(stream(seed, step), place))
}

/// Makes the batch of an index, if there is one.
type Make<T> = dyn Fn(usize) -> Option<Result<T, BatchError>> + Send + Sync;

/// A maker of batches, such as those of images that are read from files.
///
/// The first thread makes the first batch and each next thread the next, and they are handed over in turns; a thread whose two
/// batches nobody wants yet waits. So a run can be repeated with any number of threads, and few batches wait: of 224×224 pixels a
/// hundred are more than many machines have room for.
pub struct BatchMaker<T> {
    make: Arc<Make<T>>,
    workers: usize,
}

impl<T: Send + 'static> BatchMaker<T> {
    /// Of batches that `make` makes on `workers` threads; with none, the one that asks makes them.
    pub fn new(
        workers: usize,
        make: impl Fn(usize) -> Option<Result<T, BatchError>> + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(make);
        Self { make, workers }
    }

    /// The batches from an index on.
    pub fn starting_at(&self, first: usize) -> OrderedBatches<T> {
        let workers = (0..self.workers).map(|turn| {
            let indices = (first + turn..).step_by(self.workers);
            Worker::start(indices, Arc::clone(&self.make))
        });
        OrderedBatches {
            workers: workers.collect(),
            make: Arc::clone(&self.make),
            first,
            next: first,
        }
    }
}

/// Batches in the order of their indices.
pub struct OrderedBatches<T> {
    workers: Vec<Worker<T>>,
    make: Arc<Make<T>>,
    first: usize,
    next: usize,
}

impl<T> OrderedBatches<T> {
    /// The index of the next batch.
    pub fn next_index(&self) -> usize {
        self.next
    }
}

impl<T> Iterator for OrderedBatches<T> {
    type Item = Result<T, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.workers.len() {
            0 => (self.make)(self.next),
            workers => self.workers[(self.next - self.first) % workers].next(),
        };
        self.next += 1;
        batch
    }
}

/// A thread that makes every so many-th batch.
struct Worker<T> {
    /// Taken when the worker is stopped: a thread that waits for room ends when there is nobody to receive.
    batches: Option<Receiver<Result<T, BatchError>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Worker<T> {
    fn start(indices: impl Iterator<Item = usize> + Send + 'static, make: Arc<Make<T>>) -> Self {
        let (sender, batches) = sync_channel(READY);
        let thread = thread::spawn(move || {
            for batch in indices.map_while(|index| make(index)) {
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

impl<T> Worker<T> {
    /// The next batch. A thread that panicked has printed why, and its batch is an error.
    fn next(&mut self) -> Option<Result<T, BatchError>> {
        if let Ok(batch) = self.batches.as_ref()?.recv() {
            return Some(batch);
        }
        match self.thread.take()?.join() {
            Ok(()) => None,
            Err(_) => Some(Err(BatchError::new("a thread that makes batches panicked"))),
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BATCHES: usize = 6;

    /// Batches of their own index, of which later ones are ready sooner, and the fourth cannot be made if that is wanted.
    fn maker(workers: usize, fails: bool) -> BatchMaker<usize> {
        BatchMaker::new(workers, move |index| {
            thread::sleep(Duration::from_millis(BATCHES.saturating_sub(index) as u64));
            match index {
                3 if fails => Some(Err(BatchError::new("batch 3 is broken"))),
                index => (index < BATCHES).then_some(Ok(index)),
            }
        })
    }

    /// Breaks when batches are handed over as soon as they are ready.
    #[test]
    fn the_batches_are_those_of_one_thread_however_many_there_are() {
        for workers in [0, 1, 2, 5, 9] {
            for first in [0, 4] {
                let mut batches = maker(workers, false).starting_at(first);
                assert_eq!(batches.next_index(), first);
                for index in first..BATCHES {
                    let batch = batches.next().expect("it is one of six");
                    assert_eq!(batch.expect("it can be made"), index, "{workers}");
                }
                assert!(batches.next().is_none());
            }
        }
    }

    #[test]
    fn a_batch_that_cannot_be_made_says_why() {
        for workers in [0, 1, 3] {
            let batches: Result<Vec<_>, _> = maker(workers, true).starting_at(0).collect();
            let error = batches.expect_err("the fourth fails").to_string();
            assert_eq!(error, "batch 3 is broken");
        }
    }

    #[test]
    fn batches_may_be_left_early() {
        maker(3, false).starting_at(0).next();
    }
}
