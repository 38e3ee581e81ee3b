//! The rows and statistics of one pass of a layer.

use super::activation_sums::ActivationSums;
use super::attention_sums::AttendedValues;
use super::layer_statistics::{Demand, LayerStatistics, Statistic, WeightSharing};
use super::output_gradients::OutputPatches;
use super::patches::ConvGeometry;
use super::second_moments::{SampleRows, attended_rows, moment_sums};
use crate::layer::{Layer, LayerKind};
use crate::recording_backend::SeenWeight;
use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Shape, Tensor};

/// The weight of a pass.
#[derive(Debug, Clone)]
pub(super) struct PassWeight {
    pub(super) layer: Layer,
    pub(super) shape: Shape,
    /// Whether gradients are taken of it.
    pub(super) trained: bool,
}

impl PassWeight {
    pub(super) fn of<B: Backend, const D: usize>(
        layer: Layer,
        weight: &Param<Tensor<B, D>>,
    ) -> Self {
        Self {
            layer,
            shape: weight.shape(),
            trained: weight.is_require_grad(),
        }
    }

    /// A parameter that a backend has seen.
    pub(super) fn seen(kind: LayerKind, weight: &SeenWeight) -> Self {
        Self {
            layer: Layer {
                kind,
                weight: weight.id,
                bias: weight.bias,
            },
            shape: weight.shape.clone(),
            trained: true,
        }
    }
}

/// How many rows an input has, and which of them count.
pub(super) struct RowCounts<'a, B: Backend> {
    pub(super) samples: usize,
    /// Rows of a sample.
    pub(super) places: usize,
    pub(super) padded: Option<&'a Tensor<B, 2, Bool>>,
    /// The patches of the output that places stand for, where each is more than one place there.
    pub(super) patches: Option<OutputPatches>,
}

impl<'a, B: Backend> RowCounts<'a, B> {
    /// Of an input `[samples, .., size]`, or `[size]`.
    pub(super) fn of(shape: &[usize], padded: Option<&'a Tensor<B, 2, Bool>>) -> Self {
        let (samples, places) = match shape {
            [samples, places @ .., _] => (*samples, places.iter().product()),
            _ => (1, 1),
        };
        Self {
            samples,
            places,
            padded,
            patches: None,
        }
    }

    /// Of the positions of a transposed convolution's input, with the shapes `[samples, channels, depth, height, width]` of input and output;
    /// none if what is given as output is another tensor.
    pub(super) fn of_positions(
        geometry: &ConvGeometry,
        [samples, _, positions @ ..]: [usize; 5],
        output: Option<[usize; 5]>,
    ) -> Self {
        Self {
            samples,
            places: positions.iter().product(),
            padded: None,
            patches: output.and_then(|output| {
                let [_, _, lengths @ ..] = output;
                let is_own = geometry.transposed_lengths(positions) == Some(lengths);
                is_own.then(|| OutputPatches {
                    output,
                    axes: geometry.axes(lengths),
                    positions,
                })
            }),
        }
    }
}

/// The statistics of a pass's inputs that are asked for.
pub(super) struct SeenInputs<B: Backend> {
    has_bias: bool,
    demand: Demand,
    pub(super) statistics: LayerStatistics<B>,
}

impl<B: Backend> SeenInputs<B> {
    pub(super) fn new(layer: Layer, demand: Demand) -> Self {
        Self {
            has_bias: layer.bias.is_some(),
            demand,
            statistics: LayerStatistics::none(),
        }
    }

    pub(super) fn activations(&mut self, sums: impl FnOnce() -> ActivationSums<B>) {
        if self.demand.has(Statistic::Activations) {
            self.statistics.activations = Some(sums());
        }
    }

    /// A part of the inputs by its rows, to which a bias adds a 1.
    pub(super) fn rows<I: Iterator<Item = SampleRows<B>>>(&mut self, rows: impl Fn() -> I) {
        let has_bias = self.has_bias;
        self.part(|| {
            rows().map(move |rows| match has_bias {
                true => rows.with_ones(),
                false => rows,
            })
        });
    }

    /// A part of the inputs by what comes through attention.
    pub(super) fn attended_rows(&mut self, attended: &AttendedValues<'_, B>) {
        let has_bias = self.has_bias;
        self.part(|| {
            attended_rows(attended).map(move |rows| match has_bias {
                true => rows,
                false => rows.without_last(),
            })
        });
    }

    fn part<I: Iterator<Item = SampleRows<B>>>(&mut self, rows: impl Fn() -> I) {
        for sharing in [WeightSharing::Expand, WeightSharing::Reduce] {
            let statistic = Statistic::InputMoments(sharing);
            if self.demand.has(statistic)
                && let Some(sums) = moment_sums(rows(), sharing)
            {
                self.statistics.insert_part(statistic, sums);
            }
        }
    }
}
