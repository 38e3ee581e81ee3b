use std::sync::Arc;

use burn::data::dataset::Dataset;

/// One of the times that an item comes in a row, see [`LoaderPlan::repeats`](super::LoaderPlan::repeats).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated<I> {
    /// The item.
    pub item: I,
    /// How often it came before.
    pub repeat: usize,
}

/// Each item of a data set several times in a row.
pub(super) struct RepeatedDataset<I> {
    dataset: Arc<dyn Dataset<I>>,
    repeats: usize,
}

impl<I> RepeatedDataset<I> {
    /// Each item `repeats` times, which is at least 1.
    pub(super) fn new(dataset: Arc<dyn Dataset<I>>, repeats: usize) -> Self {
        Self { dataset, repeats }
    }
}

impl<I> Dataset<Repeated<I>> for RepeatedDataset<I> {
    fn get(&self, index: usize) -> Option<Repeated<I>> {
        let item = self.dataset.get(index / self.repeats)?;
        let repeat = index % self.repeats;
        Some(Repeated { item, repeat })
    }

    fn len(&self) -> usize {
        self.dataset.len() * self.repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::data::dataset::InMemDataset;

    /// Breaks when the whole data set comes several times, or all times have one number.
    #[test]
    fn an_item_comes_in_a_row_and_its_times_are_numbered() {
        let items = InMemDataset::new(vec!['a', 'b']);
        let repeated = RepeatedDataset::<char>::new(Arc::new(items), 3);
        let all: Vec<_> = repeated
            .iter()
            .map(|repeated| (repeated.item, repeated.repeat))
            .collect();
        assert_eq!(
            all,
            [('a', 0), ('a', 1), ('a', 2), ('b', 0), ('b', 1), ('b', 2)]
        );
        assert_eq!(repeated.get(6), None);
    }
}
