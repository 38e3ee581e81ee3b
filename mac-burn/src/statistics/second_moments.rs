//! Second moments of rows.

use super::activation_sums::untracked;
use super::attention_sums::{AttendedValues, uncounted_queries};
use super::layer_statistics::{Part, Sums, WeightSharing};
use super::patches::{Axis, ConvGeometry};
use crate::precision::at_least_f32;
use burn::tensor::backend::Backend;
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn::tensor::{Bool, DType, Slice, Tensor};

/// Rows are made for as many samples at a time as keep below this many elements, 32 MB in `f32`, or for one: patches of images, and
/// values through attention. They are copied twice, into rows and with the 1 of a bias.
#[cfg(not(test))]
const ROW_ELEMENTS: usize = 1 << 23;
/// So few that all tests of this crate's own modules have several chunks.
#[cfg(test)]
const ROW_ELEMENTS: usize = 64;

/// Rows of samples.
#[derive(Debug, Clone)]
pub(crate) struct SampleRows<B: Backend> {
    /// `[groups, samples, rows, size]`.
    pub(crate) values: Tensor<B, 4>,
    /// 1 at rows that count and 0 at padding, `[samples, rows]`; none where all count.
    pub(crate) valid: Option<Tensor<B, 2>>,
}

impl<B: Backend> SampleRows<B> {
    /// Of `[samples, .., size]`, with the tokens that are padded, `[samples, rows]`.
    pub(crate) fn of_tokens<const D: usize>(
        input: Tensor<B, D>,
        padded: Option<&Tensor<B, 2, Bool>>,
    ) -> Self {
        let shape = input.dims();
        let size = shape[D - 1];
        let samples = if D > 1 { shape[0] } else { 1 };
        let rows = shape.iter().product::<usize>() / (samples * size).max(1);
        let values = at_least_f32(input).reshape([1, samples, rows, size]);
        let valid = padded.map(|padded| counted(padded, values.dtype()));
        Self { values, valid }
    }

    pub(crate) fn samples_and_rows(&self) -> (usize, usize) {
        let [_, samples, rows, _] = self.values.dims();
        (samples, samples * rows)
    }

    /// With a 1 at the end of each row.
    pub(crate) fn with_ones(self) -> Self {
        let [groups, samples, rows, _] = self.values.dims();
        let options = (&self.values.device(), self.values.dtype());
        let ones = Tensor::ones([groups, samples, rows, 1], options);
        Self {
            values: Tensor::cat(vec![self.values, ones], 3),
            valid: self.valid,
        }
    }

    /// Without the last number of each row.
    pub(crate) fn without_last(self) -> Self {
        let size = self.values.dims()[3];
        Self {
            values: self.values.narrow(3, 0, size - 1),
            valid: self.valid,
        }
    }

    /// The same without padding: 0 in its place.
    fn masked(self) -> (Tensor<B, 4>, Option<Tensor<B, 2>>) {
        let [_, samples, rows, _] = self.values.dims();
        match self.valid {
            Some(valid) => {
                let mask = valid.clone().reshape([1, samples, rows, 1]);
                (self.values * mask, Some(valid))
            }
            None => (self.values, None),
        }
    }

    /// `Σ v vᵀ` of the rows, or of each sample's mean.
    pub(crate) fn second_moment(self, sharing: WeightSharing) -> Part<B> {
        let [groups, samples, rows, size] = self.values.dims();
        let (values, valid) = self.masked();
        match (sharing, valid) {
            (WeightSharing::Expand, valid) => {
                let sum = second_moment(values.reshape([groups, samples * rows, size]));
                match valid {
                    Some(valid) => Part {
                        count: valid.sum().reshape([1, 1, 1]),
                        sum,
                    },
                    None => Part::counted(sum, samples * rows),
                }
            }
            (WeightSharing::Reduce, None) => {
                let means = values.mean_dim(2).reshape([groups, samples, size]);
                Part::counted(second_moment(means), samples)
            }
            (WeightSharing::Reduce, Some(valid)) => {
                let counts = valid.sum_dim(1);
                let sums = values.sum_dim(2).reshape([groups, samples, size]);
                let divisor = counts.clone().clamp_min(1.0);
                let means = sums / divisor.reshape([1, samples, 1]);
                Part {
                    sum: second_moment(means),
                    count: counts.clamp_max(1.0).sum().reshape([1, 1, 1]),
                }
            }
        }
    }

    /// `Σ v vᵀ` of the sums over each sample's rows.
    pub(crate) fn second_moment_of_sums(self) -> Part<B> {
        let [groups, samples, _, size] = self.values.dims();
        let (values, valid) = self.masked();
        let sums = values.sum_dim(2).reshape([groups, samples, size]);
        let sum = second_moment(sums);
        match valid {
            Some(valid) => Part {
                count: valid.sum_dim(1).clamp_max(1.0).sum().reshape([1, 1, 1]),
                sum,
            },
            None => Part::counted(sum, samples),
        }
    }

    /// `Σ f(v)` over the rows, `[groups, 1, size]`.
    pub(crate) fn sum(self, function: impl Fn(Tensor<B, 4>) -> Tensor<B, 4>) -> Part<B> {
        let [groups, samples, rows, size] = self.values.dims();
        let (values, valid) = self.masked();
        let sum = function(values)
            .reshape([groups, samples * rows, size])
            .sum_dim(1);
        match valid {
            Some(valid) => Part {
                count: valid.sum().reshape([1, 1, 1]),
                sum,
            },
            None => Part::counted(sum, samples * rows),
        }
    }
}

/// `Σ a aᵀ` over chunks of rows; none without rows.
pub(crate) fn moment_sums<B: Backend>(
    chunks: impl Iterator<Item = SampleRows<B>>,
    sharing: WeightSharing,
) -> Option<Sums<B>> {
    let chunks = chunks.filter(|chunk| chunk.samples_and_rows().1 > 0);
    let chunks = chunks.map(|chunk| {
        let (samples, rows) = chunk.samples_and_rows();
        Sums {
            parts: vec![chunk.second_moment(sharing)],
            samples,
            rows,
        }
    });
    chunks.reduce(Sums::add)
}

/// 1 for a row that counts, 0 for one that is padded.
pub(crate) fn counted<B: Backend>(padded: &Tensor<B, 2, Bool>, dtype: DType) -> Tensor<B, 2> {
    padded.clone().bool_not().float().cast(dtype)
}

/// `Σ a aᵀ` over the rows of `[groups, rows, size]`, `[groups, size, size]`.
pub(crate) fn second_moment<B: Backend>(rows: Tensor<B, 3>) -> Tensor<B, 3> {
    rows.clone().swap_dims(1, 2).matmul(rows)
}

/// The patches of images `[images, channels, depth, height, width]`, of as many at a time as memory is bounded for: `[groups, images,
/// positions, size]`, where the size is `channels / groups · kernel depth · kernel height · kernel width`.
pub(crate) fn patches<B: Backend>(
    images: Tensor<B, 5>,
    geometry: &ConvGeometry,
) -> impl Iterator<Item = SampleRows<B>> {
    let [_, _, lengths @ ..] = images.dims();
    let axes = geometry.axes(lengths);
    unfolded(
        at_least_f32(images),
        axes,
        axes.map(|axis| axis.positions()),
        geometry.groups,
    )
}

/// The patches of images at the first positions along each axis.
pub(super) fn unfolded<B: Backend>(
    images: Tensor<B, 5>,
    axes: [Axis; 3],
    positions: [usize; 3],
    groups: usize,
) -> impl Iterator<Item = SampleRows<B>> {
    let channels = images.dims()[1];
    let size = channels / groups * axes.iter().map(|axis| axis.kernel).product::<usize>();
    let count: usize = positions.iter().product();
    let images_at_once = ROW_ELEMENTS / (groups * size * count).max(1);

    let images = zero_padded(images, axes.map(|axis| axis.padding));
    let chunks = images.split(images_at_once.max(1), 0).into_iter();
    chunks.filter_map(move |chunk| {
        let samples = chunk.dims()[0];
        if samples == 0 {
            return None;
        }
        let patches = unfold(chunk, axes, positions)
            .reshape([samples, groups, size, count])
            .permute([1, 0, 3, 2]);
        Some(SampleRows {
            values: patches,
            valid: None,
        })
    })
}

/// The patches of images that are padded already, `[images, channels · kernel depth · kernel height · kernel width, positions]`.
fn unfold<B: Backend>(
    images: Tensor<B, 5>,
    axes: [Axis; 3],
    positions: [usize; 3],
) -> Tensor<B, 3> {
    let [count, channels, depth, height, width] = images.dims();
    let [.., rows, columns] = axes;
    let is_flat = (depth, axes[0].kernel) == (1, 1);
    let has_all = [(1, height), (2, width)].into_iter().all(|(axis, length)| {
        let padded = Axis {
            length,
            padding: (0, 0),
            ..axes[axis]
        };
        padded.positions() == positions[axis] && padded.dilation == 1
    });
    if is_flat && has_all {
        return unfold4d(
            images.reshape([count, channels, height, width]),
            [rows.kernel, columns.kernel],
            UnfoldOptions::new([rows.stride, columns.stride], [0, 0], [1, 1]),
        );
    }
    // With dilation Burn's unfolds by a convolution whose weight has the square of a patch's size, and it has none of three axes.
    let all_positions: usize = positions.iter().product();
    let kernels = axes.map(|axis| axis.kernel);
    let elements = (0..kernels.iter().product()).map(|element: usize| {
        let along_columns = element % kernels[2];
        let along_rows = element / kernels[2] % kernels[1];
        [element / kernels[2] / kernels[1], along_rows, along_columns]
    });
    let parts = elements.map(|element| {
        let [front, top, left] = std::array::from_fn(|axis| {
            let Axis {
                stride, dilation, ..
            } = axes[axis];
            let start = element[axis] * dilation;
            let end = start + (positions[axis] - 1) * stride + 1;
            Slice::new(start as isize, Some(end as isize), stride as isize)
        });
        let part = images
            .clone()
            .slice([Slice::full(), Slice::full(), front, top, left]);
        part.reshape([count, channels, 1, all_positions])
    });
    let size = channels * kernels.iter().product::<usize>();
    Tensor::cat(parts.collect(), 2).reshape([count, size, all_positions])
}

/// The values through attention, of as many samples at a time as memory is bounded for: `[1, samples, heads · queries, size + 1]`. Last in
/// a row is the sum of its probabilities, which a bias sees. Queries that are padded, or see padding alone, do not count.
pub(crate) fn attended_rows<B: Backend>(
    attended: &AttendedValues<'_, B>,
) -> impl Iterator<Item = SampleRows<B>> {
    let probabilities = at_least_f32(untracked(attended.probabilities));
    let values = at_least_f32(untracked(attended.values));
    let [_, heads, queries, keys] = probabilities.dims();
    let [_, _, size] = values.dims();
    let uncounted = uncounted_queries(queries, attended.queries_padded, attended.keys_padded);
    let valid = uncounted.map(|padded| counted(&padded, values.dtype()));
    let ones = Tensor::ones(
        [values.dims()[0], keys, 1],
        (&values.device(), values.dtype()),
    );
    let values = Tensor::cat(vec![values, ones], 2);
    let samples_at_once = (ROW_ELEMENTS / (heads * queries * (size + 1)).max(1)).max(1);
    let batch = values.dims()[0];
    let starts = (0..batch).step_by(samples_at_once);
    starts.map(move |start| {
        let count = samples_at_once.min(batch - start);
        let probabilities = probabilities.clone().narrow(0, start, count);
        let rows = probabilities
            .reshape([count, heads * queries, keys])
            .matmul(values.clone().narrow(0, start, count));
        let valid = valid.as_ref().map(|valid| {
            let valid = valid.clone().narrow(0, start, count);
            let valid = valid.reshape([count, 1, queries]);
            valid
                .expand([count, heads, queries])
                .reshape([count, heads * queries])
        });
        SampleRows {
            values: rows.reshape([1, count, heads * queries, size + 1]),
            valid,
        }
    })
}

/// Zeros around images, which may differ on either side of an axis: Burn's unfold does not take
/// that, and its `pad` makes them in the float type of the device, not of the image.
fn zero_padded<B: Backend>(images: Tensor<B, 5>, padding: [(usize, usize); 3]) -> Tensor<B, 5> {
    if padding == [(0, 0); 3] {
        return images;
    }
    let [batch, channels, lengths @ ..] = images.dims();
    let [depth, height, width] =
        std::array::from_fn(|axis| padding[axis].0 + lengths[axis] + padding[axis].1);
    let options = (&images.device(), images.dtype());
    let padded = Tensor::zeros([batch, channels, depth, height, width], options);
    let [front, top, left] =
        std::array::from_fn(|axis| padding[axis].0..padding[axis].0 + lengths[axis]);
    padded.slice_assign([0..batch, 0..channels, front, top, left], images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::Distribution;
    use burn_ndarray::NdArray;

    type B = NdArray<f64>;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Default::default())
    }

    fn values(tensor: Tensor<B, 3>) -> Vec<f64> {
        tensor.into_data().iter().collect()
    }

    fn assert_close(found: &Sums<B>, expected: Tensor<B, 3>, rows: f64) {
        let [part] = &found.parts[..] else {
            panic!("there is one part");
        };
        let pairs = values(part.sum.clone()).into_iter().zip(values(expected));
        for (found, expected) in pairs {
            assert!((found - expected).abs() <= 1e-12, "{found} {expected}");
        }
        assert_eq!(values(part.count.clone()), [rows]);
    }

    /// Breaks when an image is left out or counted twice where patches are made of several images after each other.
    #[test]
    fn patches_of_several_chunks_add_up() {
        let layer = Conv2dConfig::new([1, 1], [2, 2]).init::<B>(&Default::default());
        let geometry = ConvGeometry::from(&layer);
        let images = random([5, 1, 3, 3]);
        let volumes = images.clone().reshape([5, 1, 1, 3, 3]);
        let chunks = patches(volumes.clone(), &geometry).map(|rows| rows.samples_and_rows().0);
        assert_eq!(chunks.collect::<Vec<_>>(), [4, 1]);
        let found = moment_sums(patches(volumes, &geometry), WeightSharing::Expand);
        let options = UnfoldOptions::new([1, 1], [0, 0], [1, 1]);
        let unfolded = unfold4d(images, [2, 2], options);
        let expected = unfolded.clone().matmul(unfolded.swap_dims(1, 2)).sum_dim(0);
        assert_close(&found.expect("there are rows"), expected, 20.0);
    }

    /// Breaks when a sample of attention has the probabilities, the values or the padding of another where there are several chunks.
    #[test]
    fn attended_rows_of_several_chunks_add_up() {
        let (batch, heads, tokens, size) = (4, 2, 3, 4);
        let probabilities = random([batch, heads, tokens, tokens]).abs();
        let attended_values = random([batch, tokens, size]);
        let lengths = [3, 1, 2, 3];
        let padded: Vec<bool> = lengths
            .iter()
            .flat_map(|length| (0..tokens).map(move |token| token >= *length))
            .collect();
        let padded = burn::tensor::TensorData::new::<bool, _>(padded, [batch, tokens]);
        let padded = Tensor::<B, 2, Bool>::from_data(padded, &Default::default());
        let attended = AttendedValues {
            queries_padded: Some(&padded),
            ..AttendedValues::new(&probabilities, &attended_values)
        };
        let chunks = attended_rows(&attended).map(|rows| rows.samples_and_rows().0);
        assert_eq!(chunks.collect::<Vec<_>>(), [2, 2]);
        let found = moment_sums(attended_rows(&attended), WeightSharing::Expand);

        let ones = Tensor::ones([batch, tokens, 1], &Default::default());
        let rows = probabilities
            .reshape([batch, heads * tokens, tokens])
            .matmul(Tensor::cat(vec![attended_values, ones], 2))
            .reshape([batch, heads, tokens, size + 1]);
        let valid = counted(&padded, rows.dtype()).reshape([batch, 1, tokens, 1]);
        let rows = (rows * valid).reshape([1, batch * heads * tokens, size + 1]);
        let expected = rows.clone().swap_dims(1, 2).matmul(rows);
        assert_close(&found.expect("there are rows"), expected, 18.0);
    }
}
