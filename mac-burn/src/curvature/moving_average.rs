//! Moving averages of the statistics that curvatures beside MAC's are made of.

use super::Batches;
use super::averages::{BELOW_OVERFLOW, is_of, largest, load};
use super::rank_one::is_processor;
use crate::precision::bytes;
use crate::statistics::{ActivationSums, Sums};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, ElementConversion, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The value that a moving average starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// 0, with the bias correction: `m / (1 − βⁿ)`.
    Zero,
    /// The identity, divided by `1 − βⁿ` as well.
    Identity,
    /// The first batch as it is.
    FirstBatch,
}

/// The moving averages of the parts of a statistic, `m ← β m + (1 − β) r`.
#[derive(Debug, Clone)]
pub(super) struct MovingAverage<B: Backend> {
    start: Start,
    /// `[groups, size, size]`, or `[groups, 1, size]` of vectors.
    pub(super) parts: Vec<Tensor<B, 3>>,
    /// `1 − βⁿ`, or 1 after the first batch where the average starts from that, `[1, 1, 1]`; 0 while nothing was seen.
    pub(super) weight: Tensor<B, 3>,
}

/// A [`MovingAverage`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MovingAverageRecord {
    pub(super) parts: Vec<TensorData>,
    weight: TensorData,
}

/// The means of a batch.
pub(super) type Means<B> = Vec<Tensor<B, 3>>;

impl<B: Backend> MovingAverage<B> {
    /// An average that has seen nothing, shaped like the means of the first batch.
    pub(super) fn new(start: Start, first: &[Tensor<B, 3>]) -> Self {
        let zero = |mean: &Tensor<B, 3>| mean.zeros_like();
        let parts = first.iter().map(|mean| match start {
            Start::Identity => identity_like(mean),
            Start::Zero | Start::FirstBatch => zero(mean),
        });
        let options = (&first[0].device(), first[0].dtype());
        Self {
            start,
            parts: parts.collect(),
            weight: Tensor::zeros([1, 1, 1], options),
        }
    }

    pub(super) fn device(&self) -> B::Device {
        self.weight.device()
    }

    /// Takes a batch in, if it is finite.
    pub(super) fn observe(&mut self, means: Means<B>, finite: &Finite<B>, decay: f64) {
        let parts = std::mem::take(&mut self.parts);
        let moved = parts.into_iter().zip(means).map(|(before, mean)| {
            let after = match self.start {
                Start::FirstBatch => {
                    let kept = self.weight.clone().mul_scalar(decay);
                    let new = kept.clone().neg().add_scalar(1.0);
                    before.clone() * kept + mean * new
                }
                Start::Zero | Start::Identity => {
                    before.clone().mul_scalar(decay) + mean.mul_scalar(1.0 - decay)
                }
            };
            finite.choose(before, after)
        });
        self.parts = moved.collect();
        let weight = self.weight.clone();
        let after = match self.start {
            Start::FirstBatch => weight.ones_like(),
            Start::Zero | Start::Identity => weight.mul_scalar(decay).add_scalar(1.0 - decay),
        };
        self.weight = finite.choose(self.weight.clone(), after);
    }

    /// The parts divided by their weight; 0 while nothing was seen.
    pub(super) fn corrected(&self) -> Vec<Tensor<B, 3>> {
        if self.start == Start::FirstBatch {
            return self.parts.clone();
        }
        let unseen = self.weight.clone().lower_equal_elem(0.0);
        let weight = self.weight.clone().mask_fill(unseen, 1.0);
        let parts = self.parts.iter();
        parts.map(|part| part.clone() / weight.clone()).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(bytes).sum::<usize>() + bytes(&self.weight)
    }

    pub(super) fn to_record(&self) -> MovingAverageRecord {
        MovingAverageRecord {
            parts: self.parts.iter().map(Tensor::to_data).collect(),
            weight: self.weight.to_data(),
        }
    }

    pub(super) fn from_record(
        record: MovingAverageRecord,
        start: Start,
        device: &B::Device,
    ) -> Self {
        Self {
            start,
            parts: load_all(record.parts, device),
            weight: load(record.weight, device),
        }
    }
}

impl MovingAverageRecord {
    /// Whether it is of parts with these shapes.
    pub(super) fn fits(&self, shapes: &[[usize; 3]]) -> bool {
        are_of(&self.parts, shapes) && is_of(&self.weight, &[1, 1, 1])
    }
}

/// Whether the data of some tensors have these shapes, in a type that statistics may have.
pub(super) fn are_of(data: &[TensorData], shapes: &[[usize; 3]]) -> bool {
    let mut all = data.iter().zip(shapes);
    data.len() == shapes.len() && all.all(|(data, shape)| is_of(data, shape))
}

pub(super) fn load_all<B: Backend>(data: Vec<TensorData>, device: &B::Device) -> Vec<Tensor<B, 3>> {
    data.into_iter().map(|data| load(data, device)).collect()
}

fn identity_like<B: Backend>(mean: &Tensor<B, 3>) -> Tensor<B, 3> {
    let [groups, size, _] = mean.dims();
    let eye = Tensor::<B, 2>::eye(size, &mean.device()).cast(mean.dtype());
    eye.unsqueeze_dim::<3>(0).repeat_dim(0, groups)
}

/// The means of sums, by the rows that count.
pub(super) fn means_of<B: Backend>(sums: &Sums<B>) -> Means<B> {
    let parts = sums.parts.iter();
    parts
        .map(|part| part.sum.clone() / part.count.clone())
        .collect()
}

/// The augmented mean `[x̄ ; 1]` of activation sums, `[means, 1, size + 1]`, or `x̄` without the 1.
pub(super) fn mean_inputs<B: Backend>(sums: &ActivationSums<B>, augmented: bool) -> Tensor<B, 3> {
    let (ones, count) = sums.weighed_rows();
    let inputs = sums.inputs.clone() / count.clone();
    let mean = match augmented {
        true => Tensor::cat(vec![inputs, ones / count], 1),
        false => inputs,
    };
    mean.unsqueeze_dim(1)
}

/// Whether the means of a batch are finite.
pub(super) enum Finite<B: Backend> {
    /// They are, and the host knows it.
    Yes,
    /// The device knows, `[1, 1, 1]`.
    OnDevice(Tensor<B, 3, Bool>),
}

impl<B: Backend> Finite<B> {
    /// Of all these means. Where the answer is at hand it saves the masks.
    pub(super) fn of(means: &[&[Tensor<B, 3>]]) -> Self {
        let all = means.iter().flat_map(|means| means.iter());
        let dtype = means[0][0].dtype();
        let total = all.map(|mean| mean.clone().mul_scalar(BELOW_OVERFLOW).sum().abs());
        let total = total.reduce(|left, right| left + right);
        // NaN is not below anything.
        let limit = dtype.finfo().map_or(f64::MAX, |info| info.max);
        let finite = total.map(|total| total.lower_equal_elem(limit).reshape([1, 1, 1]));
        match finite {
            None => Self::Yes,
            Some(finite) => {
                match is_processor::<B>() && finite.clone().into_scalar().elem::<bool>() {
                    true => Self::Yes,
                    false => Self::OnDevice(finite),
                }
            }
        }
    }

    fn choose(&self, before: Tensor<B, 3>, after: Tensor<B, 3>) -> Tensor<B, 3> {
        match self {
            Self::Yes => after,
            Self::OnDevice(finite) => {
                let finite = finite.clone().expand(before.shape());
                before.mask_where(finite, after)
            }
        }
    }
}

/// The batches that were offered to a layer's averages, and those that were not finite, counted on the device.
#[derive(Debug, Clone)]
pub(super) struct BatchCounts<B: Backend> {
    offered: u64,
    /// `[1, 1, 1]`.
    rejected: Tensor<B, 3>,
}

/// [`BatchCounts`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BatchCountsRecord {
    offered: u64,
    rejected: TensorData,
}

impl<B: Backend> BatchCounts<B> {
    pub(super) fn new(like: &Tensor<B, 3>) -> Self {
        Self {
            offered: 0,
            rejected: Tensor::zeros([1, 1, 1], (&like.device(), like.dtype())),
        }
    }

    /// Counts a batch of so many rows; one of padding alone has no mean, and nothing is wrong with it.
    ///
    /// Returns the batches so far if this was rejected and that is known without waiting for a device.
    pub(super) fn count(&mut self, finite: &Finite<B>, rows: Tensor<B, 3>) -> Option<Batches> {
        self.offered += 1;
        let Finite::OnDevice(finite) = finite else {
            return None;
        };
        let one_more = self.rejected.clone() + rows.clamp_max(1.0);
        self.rejected = one_more.mask_where(finite.clone(), self.rejected.clone());
        is_processor::<B>().then(|| self.batches())
    }

    /// Reads from the device.
    pub(super) fn batches(&self) -> Batches {
        Batches {
            offered: self.offered,
            rejected: largest(&self.rejected.to_data()),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        bytes(&self.rejected)
    }

    pub(super) fn to_record(&self) -> BatchCountsRecord {
        BatchCountsRecord {
            offered: self.offered,
            rejected: self.rejected.to_data(),
        }
    }

    pub(super) fn from_record(record: BatchCountsRecord, device: &B::Device) -> Self {
        Self {
            offered: record.offered,
            rejected: load(record.rejected, device),
        }
    }
}

impl BatchCountsRecord {
    pub(crate) fn batches(&self) -> Batches {
        Batches {
            offered: self.offered,
            rejected: largest(&self.rejected),
        }
    }

    pub(super) fn fits(&self) -> bool {
        is_of(&self.rejected, &[1, 1, 1])
    }
}
