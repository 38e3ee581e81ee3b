use super::rank_one::{RankOne, is_processor};
use super::{Batches, Curvature, CurvatureRecord, CurvatureReport, LayerGradient};
use crate::MacError;
use crate::layer::{Layer, LayerRecord};
use crate::precision::bytes;
use crate::report::Coverage;
use crate::statistics::{ActivationSums, Rows};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, ElementConversion, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// A power of two by which means are multiplied before they are summed to see whether they are finite: a sum of
/// finite numbers may be infinite.
const BELOW_OVERFLOW: f64 = 1.0 / (1u64 << 40) as f64;

/// Below each `1 − βⁿ` but that of no update, which is 0.
const SMALLEST_CORRECTION: f64 = 1e-30;

/// MAC's curvature `A ≈ ā āᵀ`, with `ā = [x̄ ; 1]` the bias-corrected moving average of a layer's mean activation
/// (ICDM 2025, section on the approximated curvature).
///
/// `[1]` and the count of the homogeneous form are averaged with `x̄`, from 0: the average of the count is
/// `1 − βⁿ`, so dividing by it is the bias correction. A layer without a finite statistic has a mean of 0, which
/// preconditions nothing.
#[derive(Debug, Clone)]
pub(crate) struct MeanActivation<B: Backend> {
    layer: Layer,
    damping: f64,
    /// The moving average of `x̄`, `[means, size]`.
    inputs: Tensor<B, 2>,
    /// The moving average of what a bias saw, `[means, 1]`; none while that was 1, as the correction has it.
    one: Option<Tensor<B, 2>>,
    /// The moving average of 1, `[means, 1]`: `1 − βⁿ`.
    correction: Tensor<B, 2>,
    /// The moving average of `‖x‖²`, `[means, 1]`, for the report; none before the first sums.
    square: Option<Tensor<B, 2>>,
    /// The bias-corrected mean that gradients are preconditioned with.
    mean: Option<Augmented<B>>,
    /// The step that took `mean` into use; none if a record of version 1 brought it.
    last_refresh: Option<u64>,
    /// Steps whose sums were taken.
    updates: u64,
    /// The number of them whose sums were not finite, counted on the device, `[means, 1]`.
    rejected: Tensor<B, 2>,
    /// The preconditioner made of `mean`, with or without a bias.
    preconditioner: Option<(bool, RankOne<B>)>,
}

/// Vectors `[x̄ ; 1]`, one for each mean of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Augmented<B: Backend> {
    /// `x̄`, `[means, size]`.
    pub(super) inputs: Tensor<B, 2>,
    /// The augmentation, what a bias sees, `[means, 1]`: 1, or 0 where no statistic has arrived yet.
    pub(super) one: Tensor<B, 2>,
}

/// A [`MeanActivation`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MeanActivationRecord {
    pub(crate) layer: LayerRecord,
    /// `[x̄ ; 1 ; 1 − βⁿ]` of the moving averages, `[means, size + 2]`.
    ema: TensorData,
    /// The moving average of `‖x‖²`, `[means, 1]`; not in records before version 3.
    #[serde(default)]
    square: Option<TensorData>,
    /// `[x̄ ; 1]` in use, `[means, size + 1]`.
    mean: Option<TensorData>,
    /// The step that took `mean` into use; not in records of version 1.
    #[serde(default)]
    last_refresh: Option<u64>,
    updates: u64,
    /// `[means]`, or `[1]` in records of version 1.
    rejected: TensorData,
}

impl<B: Backend> MeanActivation<B> {
    /// A curvature that has seen nothing, shaped like the first sums.
    pub(crate) fn new(layer: Layer, damping: f64, sums: &ActivationSums<B>) -> Self {
        let [means, _] = sums.inputs.dims();
        let options = (&sums.inputs.device(), sums.inputs.dtype());
        let zeros = || Tensor::zeros([means, 1], options);
        Self {
            layer,
            damping,
            inputs: sums.inputs.zeros_like(),
            one: None,
            correction: zeros(),
            square: None,
            mean: None,
            last_refresh: None,
            updates: 0,
            rejected: zeros(),
            preconditioner: None,
        }
    }

    /// The moving average of `ā`, `[means, size + 1]`.
    pub(crate) fn ema(&self) -> Tensor<B, 2> {
        Tensor::cat(vec![self.inputs.clone(), self.average_of_one()], 1)
    }

    fn average_of_one(&self) -> Tensor<B, 2> {
        self.one.as_ref().unwrap_or(&self.correction).clone()
    }

    /// The mean `ā` in use, `[means, size + 1]`.
    pub(crate) fn mean(&self) -> Option<Tensor<B, 2>> {
        self.mean.as_ref().map(Augmented::joined)
    }

    /// Reads from the device.
    fn batches(&self) -> Batches {
        Batches {
            offered: self.updates,
            rejected: largest(&self.rejected.to_data()),
        }
    }

    /// `‖ā‖² / E‖a‖²` of the moving averages, with the 1 of a bias; none where nothing was seen. Reads from the device.
    fn mean_share(&self) -> Option<f64> {
        let read = |tensor: &Tensor<B, 2>| -> Vec<f64> { tensor.to_data().iter().collect() };
        let [_, size] = self.inputs.dims();
        let inputs = read(&self.inputs);
        let squares = read(self.square.as_ref()?);
        let (ones, corrections) = (read(&self.average_of_one()), read(&self.correction));
        let has_bias = f64::from(self.layer.bias.is_some());
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

    fn rank_one(&mut self, gradient: &LayerGradient<B>) -> Option<&RankOne<B>> {
        let bias = gradient.bias.is_some();
        let fresh = matches!(&self.preconditioner, Some((with, _)) if *with == bias);
        if !fresh {
            let (mean, kind) = (self.mean.as_ref()?, self.layer.kind);
            let size_output = gradient.size_output();
            let rank_one = RankOne::new(mean, self.damping, bias, kind, size_output);
            self.preconditioner = Some((bias, rank_one));
        }
        let (_, rank_one) = self.preconditioner.as_ref()?;
        Some(rank_one)
    }

    pub(crate) fn from_record(
        record: MeanActivationRecord,
        layer: Layer,
        damping: f64,
        device: &B::Device,
    ) -> Self {
        let load = |data: TensorData| -> Tensor<B, 2> {
            let dtype = data.dtype;
            Tensor::from_data(data, (device, dtype))
        };
        let values: Vec<f64> = record.ema.iter().collect();
        let ema = load(record.ema);
        let [means, width] = ema.dims();
        let mut rows = values.chunks_exact(width);
        let sees_ones = rows.all(|row| row[width - 2] == row[width - 1]);
        let rejected = record.rejected;
        let counted = rejected.num_elements();
        let dtype = rejected.dtype;
        let rejected: Tensor<B, 1> = Tensor::from_data(rejected, (device, dtype));
        Self {
            layer,
            damping,
            inputs: owned(ema.clone().narrow(1, 0, width - 2)),
            one: (!sees_ones).then(|| owned(ema.clone().narrow(1, width - 2, 1))),
            correction: owned(ema.narrow(1, width - 1, 1)),
            square: record.square.map(load),
            mean: record.mean.map(|mean| Augmented::split(load(mean))),
            last_refresh: record.last_refresh,
            updates: record.updates,
            rejected: owned(rejected.reshape([counted, 1]).expand([means, 1])),
            preconditioner: None,
        }
    }
}

impl<B: Backend> Augmented<B> {
    /// `[x̄ ; 1]`, `[means, size + 1]`.
    fn joined(&self) -> Tensor<B, 2> {
        Tensor::cat(vec![self.inputs.clone(), self.one.clone()], 1)
    }

    fn split(joined: Tensor<B, 2>) -> Self {
        let [_, width] = joined.dims();
        Self {
            inputs: owned(joined.clone().narrow(1, 0, width - 1)),
            one: owned(joined.narrow(1, width - 1, 1)),
        }
    }

    fn bytes(&self) -> usize {
        bytes(&self.inputs) + bytes(&self.one)
    }
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

impl<B: Backend> Curvature<B> for MeanActivation<B> {
    fn layer(&self) -> Layer {
        self.layer
    }

    fn wants_activations(&self) -> bool {
        true
    }

    /// `m ← β m + (1 − β) r / count`.
    ///
    /// Sums with a NaN or infinity leave the average as it is and are rejected. Those of padding alone, whose count is
    /// 0, leave the average as it is too, but nothing is wrong with them. The decision is taken on the device.
    fn observe(&mut self, sums: ActivationSums<B>, decay: f64) -> Option<Batches> {
        let sums = sums.on_device(&self.inputs.device());
        // Element-wise operations of one shape each, so that a backend that fuses launches a kernel for each shape.
        let square = sums.squares.sum_dim(1);
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
        // Squares of finite numbers may be infinite, which an average would not forget.
        let square = square.clamp_max(largest);
        let total = mean.clone().mul_scalar(BELOW_OVERFLOW).sum_dim(1);
        let finite = total.abs().lower_equal_elem(largest);

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
                let of_mean = self.inputs.clone().square().sum_dim(1) / correction;
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

    fn refresh(&mut self, step: u64) {
        // Without a finite batch so far the average is 0 / 0.
        let unseen = self.correction.clone().lower_equal_elem(0.0);
        let correction = self.correction.clone().mask_fill(unseen, 1.0);
        self.mean = Some(Augmented {
            inputs: row_major(self.inputs.clone() / correction.clone()),
            one: self.average_of_one() / correction,
        });
        self.last_refresh = Some(step);
        self.preconditioner = None;
    }

    fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        if damping != self.damping {
            self.damping = damping;
            self.preconditioner = None;
        }
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B> {
        match self.rank_one(&gradient) {
            Some(rank_one) => rank_one.apply(gradient, guard),
            None => gradient,
        }
    }

    fn to_record(&self) -> CurvatureRecord {
        let ema = Tensor::cat(vec![self.ema(), self.correction.clone()], 1);
        let [means, _] = self.rejected.dims();
        CurvatureRecord::MeanActivation(MeanActivationRecord {
            layer: self.layer.to_record(),
            ema: ema.into_data(),
            square: self.square.clone().map(Tensor::into_data),
            mean: self.mean().map(Tensor::into_data),
            last_refresh: self.last_refresh,
            updates: self.updates,
            rejected: self.rejected.clone().reshape([means]).into_data(),
        })
    }

    fn report(&self) -> CurvatureReport {
        let mean_norm_squared = self.mean.as_ref().map(|mean| {
            let [means, _] = mean.inputs.dims();
            let values = mean.inputs.to_data();
            let squares = values.iter::<f64>().map(|value| value * value);
            squares.sum::<f64>() / means as f64
        });
        let averages = [&self.one, &self.square].into_iter().flatten();
        let averages = bytes(&self.inputs) + averages.map(bytes).sum::<usize>();
        let vectors = averages + self.mean.as_ref().map_or(0, Augmented::bytes);
        let preconditioner = self.preconditioner.as_ref();
        let preconditioner = preconditioner.map_or(0, |(_, rank_one)| rank_one.bytes());
        CurvatureReport {
            coverage: Coverage::MeanActivation,
            batches: self.batches(),
            last_refresh: self.last_refresh,
            mean_norm_squared,
            mean_share: self.mean_share(),
            bytes: vectors + bytes(&self.correction) + bytes(&self.rejected) + preconditioner,
        }
    }

    fn mean_activation(&self) -> Option<&MeanActivation<B>> {
        Some(self)
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}

/// The largest of some counts.
fn largest(counts: &TensorData) -> u64 {
    counts.iter::<f64>().fold(0.0, f64::max) as u64
}

impl MeanActivationRecord {
    pub(crate) fn batches(&self) -> Batches {
        Batches {
            offered: self.updates,
            rejected: largest(&self.rejected),
        }
    }

    /// Whether these are statistics of a layer with so many means of that size.
    pub(crate) fn fits(&self, means: usize, size: usize) -> bool {
        let is = |data: &TensorData, shape: &[usize]| {
            data.shape[..] == *shape && matches!(data.dtype, DType::F32 | DType::F64)
        };
        is(&self.ema, &[means, size + 2])
            && self
                .mean
                .as_ref()
                .is_none_or(|mean| is(mean, &[means, size + 1]))
            && self
                .square
                .as_ref()
                .is_none_or(|square| is(square, &[means, 1]))
            && (is(&self.rejected, &[means]) || is(&self.rejected, &[1]))
    }
}
