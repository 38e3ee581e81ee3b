use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::Windows;

/// What is added to the score of two tokens that are far from each other in the map. timm's: with half precision's
/// probabilities nothing is left of it, and no row of scores is −∞ as a whole.
const APART: f64 = -100.0;

impl Windows {
    /// The bias that keeps tokens apart which only the shift brought into one window; nothing if there is no shift.
    ///
    /// The shifted map has the regions that three pieces of each axis make: all but the last window, and the two parts
    /// of the last one, which come from the two ends of the map. Tokens of different regions are kept apart.
    ///
    /// # Shapes
    /// - map: height and width
    /// - like: any tensor of the device and type that the bias is to have
    /// - output: `[windows, area, area]`, 0 for two tokens of a region and −100 for others
    pub fn shift_mask<B: Backend, const D: usize>(
        &self,
        map: [usize; 2],
        like: &Tensor<B, D>,
    ) -> Option<Tensor<B, 3>> {
        if self.shift == [0, 0] {
            return None;
        }
        let device = like.device();
        let regions: Vec<i64> = self.regions(map).collect();
        let shape = [regions.len() / self.area(), self.area()];
        let regions = Tensor::<B, 2, Int>::from_data(TensorData::new(regions, shape), &device);
        let [windows, area] = shape;
        let all = [windows, area, area];
        let queries = regions.clone().unsqueeze_dim::<3>(2).expand(all);
        let keys = regions.unsqueeze_dim::<3>(1).expand(all);
        let zeros = Tensor::zeros(all, (&device, like.dtype()));
        Some(zeros.mask_fill(queries.not_equal(keys), APART))
    }

    /// The region of each token of each window.
    fn regions(&self, map: [usize; 2]) -> impl Iterator<Item = i64> {
        let (size, shift, grid) = (self.size, self.shift, self.grid(map));
        let piece = move |axis: usize, position: usize| {
            let length = grid[axis] * size[axis];
            i64::from(position + size[axis] >= length) + i64::from(position + shift[axis] >= length)
        };
        self.positions(map)
            .map(move |[row, column]| 3 * piece(0, row) + piece(1, column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;

    fn mask(windows: Windows, map: [usize; 2]) -> Option<Vec<f32>> {
        let like = Tensor::<TestBackend, 1>::zeros([1], &Default::default());
        let mask = windows.shift_mask(map, &like)?;
        assert_eq!(mask.dims()[1..], [windows.area(); 2]);
        Some(mask.into_data().iter().collect())
    }

    /// Where windows divide the map and it is at least two of them long, two tokens of a window are neighbours in the
    /// map when, on each axis, less than a window is between them; from end to end there is more.
    ///
    /// Breaks when tokens are kept apart that belong together, or the other way round.
    #[test]
    fn tokens_of_a_window_that_were_none_in_the_map_are_kept_apart() {
        for (size, map) in [([2, 3], [4, 9]), ([3, 2], [6, 4]), ([5, 4], [10, 12])] {
            let windows = Windows::shifted(size);
            let origins: Vec<[usize; 2]> = windows
                .positions(map)
                .map(|at| [0, 1].map(|axis| (at[axis] + windows.shift[axis]) % map[axis]))
                .collect();
            let mut expected = Vec::new();
            for window in origins.chunks(windows.area()) {
                for query in window {
                    expected.extend(window.iter().map(|key| {
                        let near = |axis: usize| query[axis].abs_diff(key[axis]) < size[axis];
                        if near(0) && near(1) { 0.0 } else { -100.0 }
                    }));
                }
            }
            assert!(expected.contains(&-100.0));
            assert_eq!(mask(windows, map), Some(expected), "{size:?} {map:?}");
        }
    }

    /// A map of 3×1 in windows of 2×1: the last window has the map's first row and what fills up the map, which is timm's
    /// last region.
    ///
    /// Breaks when the regions end where the map ends.
    #[test]
    fn a_map_is_filled_up_before_it_has_regions() {
        let windows = Windows {
            size: [2, 1],
            shift: [1, 0],
        };
        let expected = [0., 0., 0., 0., 0., -100., -100., 0.];
        assert_eq!(mask(windows, [3, 1]), Some(expected.into()));
    }

    /// Breaks when an axis that is not shifted has regions.
    #[test]
    fn an_axis_without_a_shift_has_one_region() {
        let windows = Windows {
            size: [2, 2],
            shift: [0, 1],
        };
        let found = mask(windows, [4, 4]).expect("one axis is shifted");
        let apart = |window: usize| found[window * 16..][..16].contains(&-100.0);
        assert_eq!([0, 1, 2, 3].map(apart), [false, true, false, true]);
        assert_eq!(mask(Windows::new([2, 2]), [4, 4]), None);
    }
}
