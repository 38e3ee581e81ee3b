//! Moving averages of what a layer sees, with the bias correction.

use super::Batches;
use super::rank_one::is_processor;
use crate::precision::bytes;
use crate::statistics::{ActivationSums, Rows};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, ElementConversion, Tensor, TensorData};

/// A power of two by which means are multiplied before they are summed to see whether they are finite: a sum of
/// finite numbers may be infinite.
pub(super) const BELOW_OVERFLOW: f64 = 1.0 / (1u64 << 40) as f64;

/// Below each `1 − βⁿ` but that of no update, which is 0.
const SMALLEST_CORRECTION: f64 = 1e-30;

/// The moving averages of a layer's inputs `x` and of their squares.
///
/// What a bias sees and the count of the homogeneous form are averaged with `x`, from 0: the average of the count is
/// `1 − βⁿ`, so dividing by it is the bias correction.
#[derive(Debug, Clone)]
pub(super) struct ActivationAverages<B: Backend> {
    squares: Squares,
    /// Of `x`, `[means, size]`.
    inputs: Tensor<B, 2>,
    /// Of what a bias saw, `[means, 1]`; none while that was 1, as the correction has it.
    one: Option<Tensor<B, 2>>,
    /// Of 1, `[means, 1]`: `1 − βⁿ`.
    correction: Tensor<B, 2>,
    /// Of the squares, `[means, 1]` or `[means, size]`; none before the first sums.
    square: Option<Tensor<B, 2>>,
    /// Steps whose sums were taken.
    updates: u64,
    /// The number of them whose sums were not finite, counted on the device, `[means, 1]`.
    rejected: Tensor<B, 2>,
}

/// The squares that are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Squares {
    /// `‖x‖²`, for the report.
    OfNorms,
    /// `x²` of each input, for its variance.
    OfInputs,
}

/// Vectors `[x̄ ; 1]`, one for each mean of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Augmented<B: Backend> {
    /// `x̄`, `[means, size]`.
    pub(super) inputs: Tensor<B, 2>,
    /// The augmentation, what a bias sees, `[means, 1]`: 1, or 0 where no statistic has arrived yet.
    pub(super) one: Tensor<B, 2>,
}

/// [`ActivationAverages`] in a record.
#[derive(Debug, Clone)]
pub(super) struct AveragesRecord {
    /// `[x̄ ; 1 ; 1 − βⁿ]`, `[means, size + 2]`.
    pub(super) ema: TensorData,
    /// `[means, 1]` or `[means, size]`.
    pub(super) square: Option<TensorData>,
    pub(super) updates: u64,
    /// `[means]`, or `[1]` in records of version 1.
    pub(super) rejected: TensorData,
}

impl<B: Backend> ActivationAverages<B> {
    /// Averages that have seen nothing, shaped like the first sums.
    pub(super) fn new(squares: Squares, sums: &ActivationSums<B>) -> Self {
        let [means, _] = sums.inputs.dims();
        let options = (&sums.inputs.device(), sums.inputs.dtype());
        let zeros = || Tensor::zeros([means, 1], options);
        Self {
            squares,
            inputs: sums.inputs.zeros_like(),
            one: None,
            correction: zeros(),
            square: None,
            updates: 0,
            rejected: zeros(),
        }
    }

    /// `m ← β m + (1 − β) r / count`.
    ///
    /// Sums with a NaN or infinity leave the average as it is and are rejected. Those of padding alone, whose count is
    /// 0, leave the average as it is too, but nothing is wrong with them. The decision is taken on the device.
    ///
    /// Returns the batches so far if these were rejected and that is known without waiting for a device.
    pub(super) fn observe(&mut self, sums: ActivationSums<B>, decay: f64) -> Option<Batches> {
        let sums = sums.on_device(&self.inputs.device());
        // Element-wise operations of one shape each, so that a backend that fuses launches a kernel for each shape.
        let square = self.squares.of(sums.squares);
        let (mean, square, one, count) = match sums.rows {
            Rows::Counted(rows) => {
                let rows = rows as f64;
                let mean = sums.inputs.div_scalar(rows);
                (mean, square.div_scalar(rows), None, None)
            }
            Rows::Weighed { ones, count } => {
                let mean = sums.inputs / count.clone();
                let square = square / count.clone();
                (mean, square, Some(ones / count.clone()), Some(count))
            }
        };
        // NaN is not below anything.
        let largest = mean.dtype().finfo().map_or(f64::MAX, |info| info.max);
        let total = mean.clone().mul_scalar(BELOW_OVERFLOW).sum_dim(1).abs();
        let (square, total) = match self.squares {
            // Those are for the report only. An average would not forget an infinite one.
            Squares::OfNorms => (square.clamp_max(largest), total),
            // Squares of finite numbers may be infinite.
            Squares::OfInputs => {
                let squares = square.clone().mul_scalar(BELOW_OVERFLOW).sum_dim(1);
                (square, total + squares)
            }
        };
        let finite = total.lower_equal_elem(largest);

        // Where the answer is at hand it saves the masks, which cost a processor more than the averages.
        let all_finite = is_processor::<B>() && finite.clone().all().into_scalar().elem();
        let unless_broken = |before: Tensor<B, 2>, after: Tensor<B, 2>| match all_finite {
            true => after,
            false => {
                let finite = finite.clone().expand(before.shape());
                before.mask_where(finite, after)
            }
        };
        let moved = |before: Tensor<B, 2>, mean: Tensor<B, 2>| {
            let after = before.clone().mul_scalar(decay) + mean.mul_scalar(1.0 - decay);
            unless_broken(before, after)
        };
        let moved_to_one = |before: Tensor<B, 2>| {
            let after = before.clone().mul_scalar(decay).add_scalar(1.0 - decay);
            unless_broken(before, after)
        };
        self.one = match one {
            Some(one) => Some(moved(self.average_of_one(), one)),
            None => self.one.take().map(moved_to_one),
        };
        self.inputs = moved(self.inputs.clone(), mean);
        self.correction = moved_to_one(self.correction.clone());
        self.square = Some(match self.square.take() {
            Some(before) => moved(before, square),
            // The first, or the first after a record without: as if all before it had been like it, or like their mean if it is
            // rejected.
            None => {
                let correction = self.correction.clone().clamp_min(SMALLEST_CORRECTION);
                let of_mean = self.squares.of(self.inputs.clone().square()) / correction;
                unless_broken(of_mean, square * self.correction.clone())
            }
        });
        if !all_finite {
            // Of padding alone the count is 0, otherwise at least 1.
            let one_more = match count {
                Some(count) => self.rejected.clone() + count.clamp_max(1.0),
                None => self.rejected.clone().add_scalar(1.0),
            };
            self.rejected = one_more.mask_where(finite, self.rejected.clone());
        }
        self.updates += 1;
        (is_processor::<B>() && !all_finite).then(|| self.batches())
    }

    /// `[x̄ ; 1]` and, if they are averaged, `E[x²]` of each input, bias-corrected; 0 where nothing finite was seen.
    pub(super) fn corrected(&self) -> (Augmented<B>, Option<Tensor<B, 2>>) {
        // Without a finite batch so far the average is 0 / 0.
        let unseen = self.correction.clone().lower_equal_elem(0.0);
        let correction = self.correction.clone().mask_fill(unseen, 1.0);
        let mean = Augmented {
            inputs: row_major(self.inputs.clone() / correction.clone()),
            one: self.average_of_one() / correction.clone(),
        };
        let square = match self.squares {
            Squares::OfNorms => None,
            Squares::OfInputs => self.square.clone(),
        };
        (mean, square.map(|square| row_major(square / correction)))
    }

    /// The moving average of `ā`, `[means, size + 1]`.
    pub(super) fn augmented(&self) -> Tensor<B, 2> {
        Tensor::cat(vec![self.inputs.clone(), self.average_of_one()], 1)
    }

    fn average_of_one(&self) -> Tensor<B, 2> {
        self.one.as_ref().unwrap_or(&self.correction).clone()
    }

    /// Reads from the device.
    pub(super) fn batches(&self) -> Batches {
        Batches {
            offered: self.updates,
            rejected: largest(&self.rejected.to_data()),
        }
    }

    /// `‖ā‖² / E‖a‖²`, with the 1 of a bias if there is one; none where nothing was seen. Reads from the device.
    pub(super) fn mean_share(&self, has_bias: bool) -> Option<f64> {
        let read = |tensor: &Tensor<B, 2>| -> Vec<f64> { tensor.to_data().iter().collect() };
        let [_, size] = self.inputs.dims();
        let inputs = read(&self.inputs);
        let squares = read(&Squares::OfNorms.of(self.square.clone()?));
        let (ones, corrections) = (read(&self.average_of_one()), read(&self.correction));
        let has_bias = f64::from(has_bias);
        let (mut of_means, mut of_inputs) = (0.0, 0.0);
        for (mean, row) in inputs.chunks_exact(size).enumerate() {
            let correction = corrections[mean];
            let norm: f64 = row.iter().map(|value| (value / correction).powi(2)).sum();
            let one = ones[mean] / correction;
            of_means += norm + has_bias * one * one;
            of_inputs += squares[mean] / correction + has_bias * one;
        }
        let share = of_means / of_inputs;
        share.is_finite().then_some(share)
    }

    pub(super) fn bytes(&self) -> usize {
        let some = [&self.one, &self.square].into_iter().flatten();
        let all = [&self.inputs, &self.correction, &self.rejected];
        all.into_iter().chain(some).map(bytes).sum()
    }

    pub(super) fn to_record(&self) -> AveragesRecord {
        let ema = Tensor::cat(vec![self.augmented(), self.correction.clone()], 1);
        let [means, _] = self.rejected.dims();
        AveragesRecord {
            ema: ema.into_data(),
            square: self.square.clone().map(Tensor::into_data),
            updates: self.updates,
            rejected: self.rejected.clone().reshape([means]).into_data(),
        }
    }

    pub(super) fn from_record(
        record: AveragesRecord,
        squares: Squares,
        device: &B::Device,
    ) -> Self {
        let values: Vec<f64> = record.ema.iter().collect();
        let ema: Tensor<B, 2> = load(record.ema, device);
        let [means, width] = ema.dims();
        let size = width - 2;
        let mut rows = values.chunks_exact(width);
        let sees_ones = rows.all(|row| row[size] == row[size + 1]);
        let square = record.square.map(|square| load::<B, 2>(square, device));
        let counted = record.rejected.num_elements();
        let rejected = record.rejected;
        let dtype = rejected.dtype;
        let rejected: Tensor<B, 1> = Tensor::from_data(rejected, (device, dtype));
        Self {
            squares,
            inputs: owned(ema.clone().narrow(1, 0, size)),
            one: (!sees_ones).then(|| owned(ema.clone().narrow(1, size, 1))),
            correction: owned(ema.narrow(1, size + 1, 1)),
            // That of norms tells nothing of each input.
            square: square.and_then(|square| {
                let fits = squares == Squares::OfNorms || square.dims() == [means, size];
                fits.then(|| squares.of(square))
            }),
            updates: record.updates,
            rejected: owned(rejected.reshape([counted, 1]).expand([means, 1])),
        }
    }
}

impl Squares {
    /// The sums that are averaged, of the sums of squares of each input, `[means, size]`.
    fn of<B: Backend>(self, squares: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::OfNorms => squares.sum_dim(1),
            Self::OfInputs => squares,
        }
    }
}

impl<B: Backend> Augmented<B> {
    /// `[x̄ ; 1]`, `[means, size + 1]`.
    pub(super) fn joined(&self) -> Tensor<B, 2> {
        Tensor::cat(vec![self.inputs.clone(), self.one.clone()], 1)
    }

    pub(super) fn split(joined: Tensor<B, 2>) -> Self {
        let [_, width] = joined.dims();
        Self {
            inputs: owned(joined.clone().narrow(1, 0, width - 1)),
            one: owned(joined.narrow(1, width - 1, 1)),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        bytes(&self.inputs) + bytes(&self.one)
    }
}

/// Whether statistics of a record are of this shape, in a type that they may have.
pub(super) fn is_of(data: &TensorData, shape: &[usize]) -> bool {
    data.shape[..] == *shape && matches!(data.dtype, DType::F32 | DType::F64)
}

/// Statistics of a record in their own type.
pub(super) fn load<B: Backend, const D: usize>(
    data: TensorData,
    device: &B::Device,
) -> Tensor<B, D> {
    let dtype = data.dtype;
    Tensor::from_data(data, (device, dtype))
}

/// The largest of some counts.
pub(super) fn largest(counts: &TensorData) -> u64 {
    counts.iter::<f64>().fold(0.0, f64::max) as u64
}

/// A tensor of its own in place of a view, which would keep what it is a view of.
fn owned<B: Backend>(tensor: Tensor<B, 2>) -> Tensor<B, 2> {
    row_major(tensor.mul_scalar(1.0))
}

/// The tensor with the strides of a new one. With one row, strides are a matter of the operations that made it, and
/// `NdArray` adds up in an order that depends on them: what is loaded from a record would differ by rounding.
fn row_major<B: Backend>(tensor: Tensor<B, 2>) -> Tensor<B, 2> {
    if !is_processor::<B>() {
        return tensor;
    }
    let [rows, columns] = tensor.dims();
    tensor.reshape([rows * columns]).reshape([rows, columns])
}
