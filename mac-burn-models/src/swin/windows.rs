use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};

/// The bias of the score of two tokens that are far from each other in the map. timm's: with half precision's
/// probabilities nothing is left of it, and no row of scores is −∞ as a whole.
const APART: f64 = -100.0;

/// How a map is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Height and width of a window.
    pub size: [usize; 2],
    /// How many rows and columns go from the start of the map to its end before it is cut.
    pub shift: [usize; 2],
}

impl Windows {
    /// Windows that begin where the map begins.
    ///
    /// # Panics
    /// If a window holds nothing.
    pub fn new(size: [usize; 2]) -> Self {
        assert!(
            !size.contains(&0),
            "a window must hold a token, but its size is {size:?}"
        );
        Self {
            size,
            shift: [0, 0],
        }
    }

    /// Windows that are shifted by half of their size.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn shifted(size: [usize; 2]) -> Self {
        Self {
            shift: size.map(|size| size / 2),
            ..Self::new(size)
        }
    }

    /// The windows of a map: where it is not larger than a window, they are as large as the map and not shifted.
    pub fn fitted(self, map: [usize; 2]) -> Self {
        let fits = |axis: usize| map[axis] <= self.size[axis];
        Self {
            size: [0, 1].map(|axis| self.size[axis].min(map[axis])),
            shift: [0, 1].map(|axis| if fits(axis) { 0 } else { self.shift[axis] }),
        }
    }

    /// The number of tokens in a window.
    pub fn area(&self) -> usize {
        self.size.iter().product()
    }

    /// How many windows a map of this height and width is cut into, down and across.
    pub fn grid(&self, map: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| map[axis].div_ceil(self.size[axis]))
    }

    /// Cuts a map: it is shifted, filled up with zeros at the bottom and on the right, and cut. The windows of an image
    /// are next to each other, by rows, as are the tokens of a window.
    ///
    /// # Shapes
    /// - map: `[batch_size, height, width, channels]`
    /// - output: `[batch_size · windows, area, channels]`
    pub fn partition<B: Backend>(&self, map: Tensor<B, 4>) -> Tensor<B, 3> {
        let map = padded(rolled(map, self.shift), self.size);
        let [batch_size, height, width, channels] = map.dims();
        let [rows, columns] = self.grid([height, width]);
        let [window_height, window_width] = self.size;
        map.reshape([
            batch_size,
            rows,
            window_height,
            columns,
            window_width,
            channels,
        ])
        .permute([0, 1, 3, 2, 4, 5])
        .reshape([batch_size * rows * columns, self.area(), channels])
    }

    /// Puts windows together to the map of this height and width that they were cut of.
    ///
    /// # Shapes
    /// - windows: `[batch_size · windows, area, channels]`
    /// - output: `[batch_size, height, width, channels]`
    pub fn reverse<B: Backend>(&self, windows: Tensor<B, 3>, map: [usize; 2]) -> Tensor<B, 4> {
        let [count, _, channels] = windows.dims();
        let [rows, columns] = self.grid(map);
        let [window_height, window_width] = self.size;
        let batch_size = count / (rows * columns);
        let whole = windows
            .reshape([
                batch_size,
                rows,
                columns,
                window_height,
                window_width,
                channels,
            ])
            .permute([0, 1, 3, 2, 4, 5])
            .reshape([
                batch_size,
                rows * window_height,
                columns * window_width,
                channels,
            ]);
        let back = [0, 1].map(|axis| map[axis] - self.shift[axis] % map[axis]);
        rolled(cropped(whole, map), back)
    }

    /// A mask of the tokens that only fill up the map; none if all are of the map.
    ///
    /// # Shapes
    /// - output: `[windows, area]`, true where the map is filled up
    pub fn padding<B: Backend>(
        &self,
        map: [usize; 2],
        device: &B::Device,
    ) -> Option<Tensor<B, 2, Bool>> {
        let divides = |axis: usize| map[axis].is_multiple_of(self.size[axis]);
        if divides(0) && divides(1) {
            return None;
        }
        let outside = |[row, column]: [usize; 2]| row >= map[0] || column >= map[1];
        let values: Vec<bool> = self.positions(map).map(outside).collect();
        let shape = [values.len() / self.area(), self.area()];
        Some(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// Row and column of each token of each window, in the map that is shifted and filled up.
    pub(super) fn positions(&self, map: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
        let (size, area) = (self.size, self.area());
        let [rows, columns] = self.grid(map);
        (0..rows * columns * area).map(move |index| {
            let (window, token) = (index / area, index % area);
            [
                window / columns * size[0] + token / size[1],
                window % columns * size[1] + token % size[1],
            ]
        })
    }
}

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

/// Fills up a map with zeros, at the bottom and on the right, to multiples of a height and a width.
///
/// # Shapes
/// - map and output: `[batch_size, height, width, channels]`
pub(super) fn padded<B: Backend>(map: Tensor<B, 4>, multiples: [usize; 2]) -> Tensor<B, 4> {
    [1, 2]
        .into_iter()
        .zip(multiples)
        .fold(map, |map, (axis, multiple)| {
            let mut missing = map.dims();
            missing[axis] = missing[axis].next_multiple_of(multiple) - missing[axis];
            match missing[axis] {
                0 => map,
                // Burn's `pad` takes the device's default float type.
                _ => {
                    let zeros = Tensor::zeros(missing, (&map.device(), map.dtype()));
                    Tensor::cat(vec![map, zeros], axis)
                }
            }
        })
}

/// The first rows and columns of a map, to this height and width.
fn cropped<B: Backend>(map: Tensor<B, 4>, size: [usize; 2]) -> Tensor<B, 4> {
    [1, 2].into_iter().zip(size).fold(map, |map, (axis, size)| {
        match map.dims()[axis] == size {
            // In the backward pass a slice of all is copied into a tensor of zeros.
            true => map,
            false => map.narrow(axis, 0, size),
        }
    })
}

/// Moves the first rows and columns of a map to its end; Burn's and PyTorch's `roll` turn different ways.
fn rolled<B: Backend>(map: Tensor<B, 4>, by: [usize; 2]) -> Tensor<B, 4> {
    [1, 2].into_iter().zip(by).fold(map, |map, (axis, by)| {
        let size = map.dims()[axis];
        match by % size {
            0 => map,
            by => {
                let first = map.clone().narrow(axis, 0, by);
                Tensor::cat(vec![map.narrow(axis, by, size - by), first], axis)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;

    /// Two images of two channels, whose values say where they are: image, row, column, channel, a digit each.
    fn map([height, width]: [usize; 2]) -> Tensor<TestBackend, 4> {
        let value = |index: usize| {
            let (channel, index) = (index % 2, index / 2);
            let (column, index) = (index % width, index / width);
            let (row, image) = (index % height, index / height);
            (1000 * (image + 1) + 100 * row + 10 * column + channel) as f32
        };
        let values: Vec<f32> = (0..2 * height * width * 2).map(value).collect();
        let data = TensorData::new(values, [2, height, width, 2]);
        Tensor::from_data(data, &Default::default())
    }

    /// The first channel of the windows' tokens.
    fn firsts(windows: Tensor<TestBackend, 3>) -> Vec<Vec<f32>> {
        let [_, area, _] = windows.dims();
        let values: Vec<f32> = windows.into_data().iter().step_by(2).collect();
        values.chunks(area).map(<[f32]>::to_vec).collect()
    }

    /// Breaks when windows or their tokens are in another order, or the channels are cut.
    #[test]
    fn a_map_is_cut_by_rows() {
        let windows = Windows::new([2, 3]).partition(map([4, 6]));
        assert_eq!(windows.dims(), [8, 6, 2]);
        let second = windows.clone().narrow(0, 1, 1).into_data();
        let expected = [
            1030., 1031., 1040., 1041., 1050., 1051., 1130., 1131., 1140., 1141., 1150., 1151.,
        ];
        assert_eq!(second.iter::<f32>().collect::<Vec<_>>(), expected);
        let found = firsts(windows);
        assert_eq!(found[2], [1200., 1210., 1220., 1300., 1310., 1320.]);
        assert_eq!(found[4], [2000., 2010., 2020., 2100., 2110., 2120.]);
    }

    /// Breaks when the map is shifted the other way, or filled up before it is shifted.
    #[test]
    fn a_map_is_shifted_then_filled_up_then_cut() {
        let windows = Windows::shifted([3, 2]).partition(map([4, 3]));
        let found = firsts(windows);

        assert_eq!(found.len(), 8);
        assert_eq!(found[0], [1110., 1120., 1210., 1220., 1310., 1320.]);
        assert_eq!(found[1], [1100., 0., 1200., 0., 1300., 0.]);
        assert_eq!(found[2], [1010., 1020., 0., 0., 0., 0.]);
        assert_eq!(found[7], [2000., 0., 0., 0., 0., 0.]);
    }

    /// Breaks when windows are put together in another order, shifted back by another amount, or when what fills up the
    /// map is left in it.
    #[test]
    fn windows_are_put_together_to_the_map() {
        for size in [[4, 6], [5, 7], [1, 2], [3, 3]] {
            for window in [[2, 3], [3, 2], [1, 1], [4, 5]] {
                for windows in [Windows::new(window), Windows::shifted(window)] {
                    for windows in [windows, windows.fitted(size)] {
                        let cut = windows.partition(map(size));
                        assert_eq!(
                            cut.dims()[0],
                            2 * windows.grid(size).iter().product::<usize>()
                        );
                        let whole = windows.reverse(cut, size);
                        assert_eq!(whole.into_data(), map(size).into_data(), "{windows:?}");
                    }
                }
            }
        }
    }

    /// Breaks when a token of the map counts as padding or padding as one: only padding is zero here.
    #[test]
    fn padding_is_what_the_map_is_filled_up_with() {
        let device = Default::default();
        for windows in [Windows::new([3, 2]), Windows::shifted([3, 2])] {
            let padding = windows.padding::<TestBackend>([4, 3], &device);
            let padding = padding.expect("the map is filled up").into_data();
            let found = firsts(windows.partition(map([4, 3]))).concat();
            let expected: Vec<bool> = found.iter().map(|value| *value == 0.0).collect();
            let once = padding.iter::<bool>().collect::<Vec<_>>();
            assert_eq!([once.clone(), once].concat(), expected);
            assert!(windows.padding::<TestBackend>([6, 4], &device).is_none());
        }
    }

    #[test]
    fn a_window_is_no_larger_than_its_map() {
        let windows = Windows::shifted([7, 6]);

        assert_eq!(windows.shift, [3, 3]);
        assert_eq!(windows.fitted([8, 7]), windows);
        assert_eq!(windows.fitted([7, 7]).shift, [0, 3]);
        let small = windows.fitted([9, 4]);
        assert_eq!((small.size, small.shift), ([7, 4], [3, 0]));
    }

    #[test]
    #[should_panic(expected = "a window must hold a token, but its size is [0, 7]")]
    fn an_empty_window_is_refused() {
        Windows::new([0, 7]);
    }

    fn mask(windows: Windows, map: [usize; 2]) -> Option<Vec<f32>> {
        let like = Tensor::<TestBackend, 1>::zeros([1], &Default::default());
        let mask = windows.shift_mask(map, &like)?;
        assert_eq!(mask.dims()[1..], [windows.area(); 2]);
        Some(mask.into_data().iter().collect())
    }

    /// In a map that windows divide and that is at least two of them long, two tokens of a window are neighbours in the
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
