//! Sums over the gradients at a layer's outputs.

use super::backward_hook::GradientSums;
use super::layer_statistics::{Demand, Part, Statistic, Sums, WeightSharing};
use super::second_moments::SampleRows;
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
}

impl Layout {
    /// Of an output of this shape, of a layer with so many outputs, for an input of so many samples and rows of each; none if it is not the
    /// layer's own.
    fn of(
        kind: LayerKind,
        shape: &[usize],
        size_output: usize,
        [samples, rows]: [usize; 2],
    ) -> Option<Self> {
        let last = shape.last()?;
        match (kind, shape) {
            (LayerKind::Conv2d { .. }, [samples, channels, height, width]) => (*channels
                == size_output)
                .then_some(Self::Channels([*samples, *channels, height * width])),
            (LayerKind::Conv2d { .. }, _) => None,
            // Samples and rows may be one axis.
            _ if *last == size_output
                && shape[..shape.len() - 1].iter().product::<usize>() == samples * rows =>
            {
                Some(Self::Rows([samples, rows, *last]))
            }
            (_, [found, heads, tokens, size])
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
        valid: impl FnOnce() -> Option<V>,
    ) -> Option<Self> {
        let demand = demand.of_outputs();
        if demand.is_empty() {
            return None;
        }
        Some(Self {
            demand,
            kind,
            layout: Layout::of(kind, shape, size_output, samples_and_rows)?,
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
        };
        if count == 0 {
            return Vec::new();
        }
        let rows = self.rows::<I>(gradient, valid);
        let statistics = self.demand.statistics();
        let sums = statistics.map(|statistic| {
            let parts = rows.iter().cloned().map(|rows| part(statistic, rows));
            let sums = Sums {
                parts: parts.collect(),
                samples,
                rows: count,
            };
            (statistic, sums)
        });
        sums.collect()
    }

    /// The rows of each block of the layer's outputs.
    fn rows<I: Backend>(
        &self,
        gradient: FloatTensor<I>,
        valid: Option<Tensor<I, 2>>,
    ) -> Vec<SampleRows<I>> {
        let groups = match self.kind {
            LayerKind::Conv2d { groups } => groups,
            _ => 1,
        };
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
        };
        let values = at_least_f32(values);
        let outputs = values.dims()[3];
        let blocks = match self.kind {
            // The outputs of a group are the last axis.
            LayerKind::Conv2d { .. } => LayerKind::Linear.output_blocks(outputs),
            kind => kind.output_blocks(outputs),
        };
        let rows = blocks.into_iter().map(|block| SampleRows {
            values: values.clone().narrow(3, block.start, block.outputs),
            valid: valid.clone(),
        });
        rows.collect()
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
