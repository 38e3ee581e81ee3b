//! Sums over the gradients at a layer's outputs.

use super::backward_hook::GradientSums;
use super::layer_statistics::{Demand, Part, Statistic, Sums, WeightSharing};
use super::patches::Axis;
use super::second_moments::{SampleRows, unfolded};
use crate::layer::LayerKind;
use crate::precision::at_least_f32;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorPrimitive};

/// The rows of the gradient at a layer's output, and what is asked of them.
#[derive(Debug, Clone)]
pub(super) struct GradientRows<V> {
    demand: Demand,
    kind: LayerKind,
    layout: Layout,
    /// 1 at rows that count and 0 at padding, `[samples, rows]`; none where all count.
    pub(super) valid: Option<V>,
}

/// The place of samples, rows and outputs in a gradient.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// `[samples, rows, outputs]`.
    Rows([usize; 3]),
    /// `[samples, outputs, rows]`.
    Channels([usize; 3]),
    /// `[samples, heads, rows, outputs / heads]`.
    Heads([usize; 4]),
    /// `[samples, channels, depth, height, width]`, in patches.
    Patches(OutputPatches),
}

/// The patches of a transposed convolution's output, one for each position of its input: what the weight makes of that position is added to
/// the patch.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputPatches {
    /// The shape of the output, `[samples, channels, depth, height, width]`.
    pub(super) output: [usize; 5],
    pub(super) axes: [Axis; 3],
    /// Positions of the input.
    pub(super) positions: [usize; 3],
}

impl Layout {
    /// Of an output of this shape, of a layer with so many outputs, for an input of so many samples and rows of each; none if it is not the
    /// layer's own.
    fn of(
        kind: LayerKind,
        shape: &[usize],
        size_output: usize,
        [samples, rows]: [usize; 2],
        patches: Option<OutputPatches>,
    ) -> Option<Self> {
        let last = shape.last()?;
        if let Some(patches) = patches {
            let [of_samples, channels, ..] = patches.output;
            let kernel: usize = patches.axes.iter().map(|axis| axis.kernel).product();
            let is_own = of_samples == samples && channels * kernel == size_output;
            return is_own.then_some(Self::Patches(patches));
        }
        match shape {
            // Another tensor than the layer's own output.
            _ if kind.axes() > 0 && !kind.has_outputs_first() => None,
            [samples, channels, lengths @ ..] if kind.axes() > 0 => {
                let is_own = *channels == size_output && lengths.len() == kind.axes();
                let rows = lengths.iter().product();
                is_own.then_some(Self::Channels([*samples, *channels, rows]))
            }
            _ if kind.axes() > 0 => None,
            // Samples and rows may be one axis.
            _ if *last == size_output
                && shape[..shape.len() - 1].iter().product::<usize>() == samples * rows =>
            {
                Some(Self::Rows([samples, rows, *last]))
            }
            [found, heads, tokens, size]
                if heads * size == size_output && [*found, *tokens] == [samples, rows] =>
            {
                Some(Self::Heads([samples, *heads, rows, *size]))
            }
            _ => None,
        }
    }
}

impl<V> GradientRows<V> {
    /// Of an output of this shape, of a layer with so many outputs, for an input of so many samples and rows of each; none if nothing is asked of
    /// its gradient, or it is not the layer's own output.
    pub(super) fn of(
        demand: Demand,
        kind: LayerKind,
        shape: &[usize],
        size_output: usize,
        samples_and_rows: [usize; 2],
        patches: Option<OutputPatches>,
        valid: impl FnOnce() -> Option<V>,
    ) -> Option<Self> {
        let demand = demand.of_outputs();
        if demand.is_empty() {
            return None;
        }
        Some(Self {
            demand,
            kind,
            layout: Layout::of(kind, shape, size_output, samples_and_rows, patches)?,
            valid: valid(),
        })
    }

    pub(super) fn map_valid<W>(self, map: impl FnOnce(V) -> W) -> GradientRows<W> {
        GradientRows {
            demand: self.demand,
            kind: self.kind,
            layout: self.layout,
            valid: self.valid.map(map),
        }
    }

    /// The sums over the rows of a gradient.
    pub(super) fn sums<I: Backend>(
        &self,
        gradient: FloatTensor<I>,
        valid: Option<Tensor<I, 2>>,
    ) -> GradientSums<I> {
        let (samples, count) = match self.layout {
            Layout::Rows([samples, rows, _]) | Layout::Channels([samples, _, rows]) => {
                (samples, samples * rows)
            }
            Layout::Heads([samples, _, rows, _]) => (samples, samples * rows),
            Layout::Patches(OutputPatches {
                output, positions, ..
            }) => (output[0], output[0] * positions.iter().product::<usize>()),
        };
        if count == 0 {
            return Vec::new();
        }
        let statistics = || self.demand.statistics();
        let chunks = self.rows::<I>(gradient, valid).map(|blocks| {
            let sums = statistics().map(|statistic| {
                let parts = blocks.iter().cloned().map(|rows| part(statistic, rows));
                parts.collect::<Vec<_>>()
            });
            sums.collect::<Vec<_>>()
        });
        let added = chunks.reduce(|sums, more| {
            let both = sums.into_iter().zip(more).map(|(left, right)| {
                let parts = left.into_iter().zip(right);
                parts.map(|(left, right)| left.add(right)).collect()
            });
            both.collect()
        });
        let sums = statistics().zip(added.unwrap_or_default());
        sums.map(|(statistic, parts)| {
            let sums = Sums {
                parts,
                samples,
                rows: count,
            };
            (statistic, sums)
        })
        .collect()
    }

    /// The rows of each block of the layer's outputs, of some samples at a time where they are more than the gradient.
    fn rows<I: Backend>(
        &self,
        gradient: FloatTensor<I>,
        valid: Option<Tensor<I, 2>>,
    ) -> Box<dyn Iterator<Item = Vec<SampleRows<I>>>> {
        let groups = self.kind.groups();
        let values: Tensor<I, 4> = match self.layout {
            Layout::Rows([samples, rows, outputs]) => {
                shaped::<I, 4>(gradient, [1, samples, rows, outputs])
            }
            Layout::Channels([samples, channels, rows]) => {
                let size = channels / groups;
                shaped::<I, 4>(gradient, [samples, groups, size, rows]).permute([1, 0, 3, 2])
            }
            Layout::Heads([samples, heads, rows, size]) => {
                let by_row = shaped::<I, 4>(gradient, [samples, heads, rows, size]).swap_dims(1, 2);
                by_row.reshape([1, samples, rows, heads * size])
            }
            Layout::Patches(patches) => {
                let gradient = at_least_f32(shaped::<I, 5>(gradient, patches.output));
                let chunks = unfolded(gradient, patches.axes, patches.positions, groups);
                return Box::new(chunks.map(|rows| vec![rows]));
            }
        };
        let values = at_least_f32(values);
        let outputs = values.dims()[3];
        let blocks = match groups {
            1 => self.kind.output_blocks(outputs),
            // The outputs of a group are the last axis.
            _ => LayerKind::Linear.output_blocks(outputs),
        };
        let rows = blocks.into_iter().map(|block| SampleRows {
            values: values.clone().narrow(3, block.start, block.outputs),
            valid: valid.clone(),
        });
        Box::new(std::iter::once(rows.collect()))
    }
}

fn part<I: Backend>(statistic: Statistic, rows: SampleRows<I>) -> Part<I> {
    match statistic {
        Statistic::OutputMoments(WeightSharing::Reduce) => rows.second_moment_of_sums(),
        Statistic::OutputMoments(sharing) => rows.second_moment(sharing),
        Statistic::OutputSquares => rows.sum(|values| values.square()),
        _ => rows.sum(|values| values),
    }
}

fn shaped<I: Backend, const D: usize>(gradient: FloatTensor<I>, shape: [usize; D]) -> Tensor<I, D> {
    let gradient = I::float_reshape(gradient, Shape::from(shape));
    Tensor::from_primitive(TensorPrimitive::Float(gradient))
}
