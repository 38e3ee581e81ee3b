use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::sync::{Mutex, PoisonError};

/// The items of each step: all of them once in each epoch, in an order that depends on the seed alone, so that a
/// run continues at any step without going through those before.
#[derive(Debug)]
pub struct Batches {
    items: usize,
    batch_size: usize,
    seed: u64,
    repeats: usize,
    /// The epoch that was asked for last, and its order: to shuffle a large data set takes longer than to read a batch.
    last: Mutex<Option<(usize, Vec<usize>)>>,
}

impl Batches {
    /// Of `items` items, which are at least one, in batches of `batch_size`, or of all items if these are fewer.
    pub fn new(items: usize, batch_size: usize, seed: u64) -> Self {
        assert!(items > 0, "there is nothing to train on");
        Self {
            items,
            batch_size: batch_size.min(items),
            seed,
            repeats: 1,
            last: Mutex::new(None),
        }
    }

    /// Each item `repeats` times in a row, which are at least one. An epoch has as many items as without: those of the beginning
    /// of its order more often, and the others not at all.
    pub fn with_repeats(self, repeats: usize) -> Self {
        Self { repeats, ..self }
    }

    /// The number of steps of an epoch. What does not fill a batch at its end is left out.
    pub fn steps_of_an_epoch(&self) -> usize {
        self.items / self.batch_size
    }

    /// The items of a step.
    pub fn of_step(&self, step: usize) -> Vec<usize> {
        let steps = self.steps_of_an_epoch();
        let (epoch, index) = (step / steps, step % steps);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let order = match last.take() {
            Some((known, order)) if known == epoch => order,
            _ => self.order(epoch),
        };
        let places = index * self.batch_size..(index + 1) * self.batch_size;
        let batch = places.map(|place| order[place / self.repeats]).collect();
        *last = Some((epoch, order));
        batch
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.items).collect();
        order.shuffle(&mut StdRng::seed_from_u64(stream(self.seed, epoch)));
        order
    }
}

/// A seed for a part of a run, so that parts (steps, epochs) and runs of other seeds draw different numbers.
pub fn stream(seed: u64, part: usize) -> u64 {
    // A large odd number spreads neighbouring seeds apart.
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(part as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_each_item_once_and_the_next_has_another_order() {
        let batches = Batches::new(12, 4, 3);
        let epoch = |first: usize| -> Vec<usize> {
            (first..first + 3)
                .flat_map(|step| batches.of_step(step))
                .collect()
        };
        let (first, second) = (epoch(0), epoch(3));
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
        assert_ne!(first, second);
        assert_ne!(first, Batches::new(12, 4, 4).of_step(0));
    }

    /// Breaks when the order of an epoch is taken for another's.
    #[test]
    fn a_batch_does_not_depend_on_those_before_it() {
        let batches = Batches::new(12, 4, 3);
        for step in [0, 1, 5, 4, 2, 0, 8] {
            assert_eq!(batches.of_step(step), Batches::new(12, 4, 3).of_step(step));
        }
    }

    /// Breaks when the repeats are shuffled, or an epoch becomes longer by them: of 12 items are four rows of 3.
    #[test]
    fn repeats_come_in_a_row_and_an_epoch_has_as_many_items_as_without() {
        let once: Vec<usize> = (0..3)
            .flat_map(|step| Batches::new(12, 4, 3).of_step(step))
            .collect();
        let batches = Batches::new(12, 4, 3).with_repeats(3);
        assert_eq!(batches.steps_of_an_epoch(), 3);
        let repeated: Vec<usize> = (0..3).flat_map(|step| batches.of_step(step)).collect();
        for (row, item) in repeated.chunks(3).zip(once) {
            assert_eq!(row, [item; 3]);
        }
    }

    #[test]
    fn a_batch_has_at_most_all_items() {
        assert_eq!(Batches::new(3, 8, 0).of_step(5).len(), 3);
    }
}
