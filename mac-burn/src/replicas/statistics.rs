//! The statistics of all ranks as one vector.

use super::flat::{Flat, Summed};
use super::{GradientReduction, ReplicaError, Replicas};
use crate::curvature::Shapes;
use crate::layer::Layer;
use crate::precision::as_dtype;
use crate::statistics::{ActivationSums, Demand, LayerStatistics, Part, Rows, Statistic, Sums};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

/// A layer's statistics on this rank, which become those of all ranks.
pub(crate) struct LayerShare<'a, B: Backend> {
    pub(crate) layer: Layer,
    /// The shape of its weight.
    pub(crate) weight: &'a [usize],
    /// The position of its weight in the module.
    pub(crate) position: usize,
    /// The same of its bias, if that is trained.
    pub(crate) bias: Option<usize>,
    pub(crate) dtype: DType,
    pub(crate) device: &'a B::Device,
    /// The statistics that are reduced.
    pub(crate) demand: Demand,
    pub(crate) statistics: &'a mut Option<LayerStatistics<B>>,
}

impl<B: Backend> Replicas<B> {
    /// On how many ranks each of some things is so; a rank knows of itself.
    pub(crate) fn count_ranks(
        &self,
        purpose: &str,
        step: u64,
        own: &[bool],
        device: B::Device,
    ) -> Result<Vec<usize>, ReplicaError> {
        let mut flat = Flat::new(purpose, step, device);
        own.iter()
            .for_each(|own| flat.push_number(f64::from(u8::from(*own))));
        let mut summed = flat.sum(self)?;
        Ok(own.iter().map(|_| summed.number() as usize).collect())
    }

    /// Sums the statistics of a step over all ranks. Every rank names the same layers in the same order, whether it has seen something of
    /// them or not.
    pub(crate) fn reduce_statistics(
        &self,
        step: u64,
        mut layers: Vec<LayerShare<'_, B>>,
    ) -> Result<(), ReplicaError> {
        let Some(first) = layers.first() else {
            return Ok(());
        };
        let mut flat = Flat::new("statistics", step, first.device.clone());
        for share in &layers {
            flat.compare(share.position);
            // A backend that records may see another map of a weight on each rank.
            let (kind, has_bias) = (share.layer.kind, share.layer.bias.is_some());
            flat.compare_text(&format!("{kind:?}, {has_bias}, {:?}", share.bias));
            let own = share.statistics.as_ref();
            for statistic in share.demand.statistics() {
                push(&mut flat, share, statistic, own).map_err(|found| ReplicaError::Mismatch {
                    rank: self.rank(share.device),
                    what: format!(
                        "the shape of {statistic:?} of the layer at {}",
                        share.position
                    ),
                    found,
                    expected: "that of the layer's weight".to_string(),
                })?;
            }
        }
        let mut summed = flat.sum(self)?;
        for share in &mut layers {
            let mut statistics = LayerStatistics::none();
            for statistic in share.demand.statistics() {
                let scale = match self.reduction() {
                    // Each rank's gradients are those of a mean over its share, which is as many times smaller.
                    GradientReduction::Mean => 1.0 / self.world_size() as f64,
                    GradientReduction::Sum => 1.0,
                };
                take(&mut summed, share, statistic, scale, &mut statistics);
            }
            *share.statistics = (!statistics.is_empty()).then_some(statistics);
        }
        Ok(())
    }
}

/// Pushes a statistic, or zeros where it has not been seen; or tells the shape that it has if it is not the layer's.
fn push<B: Backend>(
    flat: &mut Flat<B>,
    share: &LayerShare<'_, B>,
    statistic: Statistic,
    own: Option<&LayerStatistics<B>>,
) -> Result<(), String> {
    let (layer, dtype) = (share.layer, share.dtype);
    if statistic == Statistic::Activations {
        let sums = own.and_then(|own| own.activations.as_ref());
        let (means, size) = layer.kind.means_and_size(share.weight);
        if let Some(sums) = sums
            && sums.inputs.dims() != [means, size]
        {
            return Err(format!("{:?}", sums.inputs.dims()));
        }
        let (weighed, rows) = match sums.map(|sums| &sums.rows) {
            None => (0.0, 0),
            Some(Rows::Counted(rows)) => (0.0, *rows),
            Some(Rows::Weighed { .. }) => (1.0, 0),
        };
        push_head(flat, sums.is_some(), weighed, 0, rows);
        let (ones, count) = sums.map(ActivationSums::weighed_rows).unzip();
        flat.push(sums.map(|sums| sums.inputs.clone()), [means, size], dtype);
        flat.push(sums.map(|sums| sums.squares.clone()), [means, size], dtype);
        flat.push(ones, [means, 1], dtype);
        flat.push(count, [means, 1], dtype);
        return Ok(());
    }
    let sums = own.and_then(|own| own.get(statistic));
    let shapes = part_shapes(layer, share.weight, statistic);
    if let Some(sums) = sums {
        let found: Vec<_> = sums.parts.iter().map(|part| part.sum.dims()).collect();
        if found != shapes {
            return Err(format!("{found:?}"));
        }
    }
    let (samples, rows) = sums.map_or((0, 0), |sums| (sums.samples, sums.rows));
    push_head(flat, sums.is_some(), 0.0, samples, rows);
    for (index, shape) in shapes.into_iter().enumerate() {
        let part = sums.map(|sums| &sums.parts[index]);
        flat.push(part.map(|part| part.sum.clone()), shape, dtype);
        flat.push(part.map(|part| part.count.clone()), [1, 1, 1], dtype);
    }
    Ok(())
}

/// The shapes of the parts of sums; of activations, which are no such sums, none.
fn part_shapes(layer: Layer, weight: &[usize], statistic: Statistic) -> Vec<[usize; 3]> {
    let shapes = Shapes::recorded(layer, weight);
    match statistic {
        Statistic::Activations => Vec::new(),
        Statistic::InputMoments(_) => shapes.parts,
        Statistic::OutputGradients | Statistic::OutputSquares => shapes.vectors,
        Statistic::OutputMoments(_) => shapes.outputs,
    }
}

fn push_head<B: Backend>(
    flat: &mut Flat<B>,
    present: bool,
    weighed: f64,
    samples: usize,
    rows: usize,
) {
    flat.push_number(f64::from(u8::from(present)));
    flat.push_number(weighed);
    flat.push_count(samples);
    flat.push_count(rows);
}

/// Takes a statistic out of the sum, if any rank has seen it.
fn take<B: Backend>(
    summed: &mut Summed<B>,
    share: &LayerShare<'_, B>,
    statistic: Statistic,
    scale: f64,
    statistics: &mut LayerStatistics<B>,
) {
    let (present, weighed) = (summed.number() > 0.0, summed.number() > 0.0);
    let (samples, rows) = (summed.count(), summed.count());
    if statistic == Statistic::Activations {
        let (means, size) = share.layer.kind.means_and_size(share.weight);
        let [inputs, squares] = [(); 2].map(|()| own(summed.tensor([means, size]), share));
        let [ones, count] = [(); 2].map(|()| own(summed.tensor([means, 1]), share));
        statistics.activations = present.then_some(ActivationSums {
            inputs,
            squares,
            rows: match weighed {
                true => Rows::Weighed { ones, count },
                false => Rows::Counted(rows),
            },
        });
        return;
    }
    let scale = match statistic {
        Statistic::Activations | Statistic::InputMoments(_) => 1.0,
        Statistic::OutputGradients => scale,
        Statistic::OutputSquares | Statistic::OutputMoments(_) => scale * scale,
    };
    let shapes = part_shapes(share.layer, share.weight, statistic);
    let parts = shapes.into_iter().map(|shape| Part {
        sum: own(summed.tensor(shape).mul_scalar(scale), share),
        count: own(summed.tensor([1, 1, 1]), share),
    });
    let sums = Sums {
        parts: parts.collect(),
        samples,
        rows,
    };
    if present {
        statistics.insert(statistic, sums);
    }
}

/// In the type and on the device of the layer's own.
fn own<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    share: &LayerShare<'_, B>,
) -> Tensor<B, D> {
    as_dtype(tensor, share.dtype).to_device(share.device)
}
