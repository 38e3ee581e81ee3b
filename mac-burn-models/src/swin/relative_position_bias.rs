use burn::module::{Initializer, Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::config::STD;

/// What is added to the score of two tokens of a window, by how far the query is below and right of the key: a number for
/// each offset and head, which is learned (section 3.2 of the paper).
///
/// Part of a [`WindowAttention`](super::WindowAttention).
#[derive(Module, Debug)]
pub struct RelativePositionBias<B: Backend> {
    /// The numbers, `[(2 height − 1) · (2 width − 1), n_heads]`: by rows of offsets, from `1 − height` and `1 − width` up.
    pub table: Param<Tensor<B, 2>>,
    /// Height and width of a window.
    pub window_size: [usize; 2],
}

impl<B: Backend> RelativePositionBias<B> {
    pub(super) fn new(window_size: [usize; 2], n_heads: usize, device: &B::Device) -> Self {
        let offsets: usize = window_size.map(|size| 2 * size - 1).iter().product();
        let normal = Initializer::Normal {
            mean: 0.0,
            std: STD,
        };
        Self {
            table: normal.init([offsets, n_heads], device),
            window_size,
        }
    }

    /// The bias of each query and key.
    ///
    /// # Shapes
    /// - output: `[n_heads, area, area]`
    pub fn forward(&self) -> Tensor<B, 3> {
        let table = self.table.val();
        let [_, n_heads] = table.dims();
        let area = self.window_size.iter().product();
        let offsets = offsets(self.window_size);
        let shape = [offsets.len()];
        let offsets =
            Tensor::<B, 1, Int>::from_data(TensorData::new(offsets, shape), &table.device());
        table
            .select(0, offsets)
            .reshape([area, area, n_heads])
            .permute([2, 0, 1])
    }
}

/// The table's row for each query and key of a window, query by query.
fn offsets([height, width]: [usize; 2]) -> Vec<i64> {
    let area = height * width;
    let offset = |index: usize| {
        let (query, key) = (index / area, index % area);
        let down = query / width + height - 1 - key / width;
        let right = query % width + width - 1 - key % width;
        (down * (2 * width - 1) + right) as i64
    };
    (0..area * area).map(offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;

    /// Of a window of 2×3, whose table has rows of 5: each by hand, tokens 0 1 2 above 3 4 5.
    ///
    /// Breaks when query and key, or rows and columns, are exchanged.
    #[test]
    fn an_offset_is_the_querys_place_from_the_key() {
        let offsets = offsets([2, 3]);
        let of = |query: usize, key: usize| offsets[query * 6 + key];

        assert_eq!(offsets.len(), 36);
        assert_eq!((of(0, 0), of(4, 4)), (7, 7));
        assert_eq!((of(1, 0), of(0, 1)), (8, 6));
        assert_eq!((of(3, 0), of(0, 3)), (12, 2));
        assert_eq!((of(5, 0), of(0, 5)), (14, 0));
        assert_eq!((of(3, 2), of(2, 3)), (10, 4));
    }

    /// Breaks when a head takes the numbers of another.
    #[test]
    fn a_head_has_its_column_of_the_table() {
        let mut bias = RelativePositionBias::<TestBackend>::new([1, 2], 2, &Default::default());
        let table = [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]];
        bias.table = Param::from_data(table, &Default::default());

        let expected = [2.0, 1.0, 3.0, 2.0, 20.0, 10.0, 30.0, 20.0];
        let found = bias.forward();
        assert_eq!(found.dims(), [2, 2, 2]);
        assert_eq!(
            found.into_data().iter::<f32>().collect::<Vec<_>>(),
            expected
        );
    }
}
