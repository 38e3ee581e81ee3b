use super::activation_sums::{ActivationSums, untracked};
use super::layer_statistics::{Demand, LayerStatistics};
use super::moments::Moment;
use super::pass::SeenInputs;
use super::second_moments::SampleRows;
use crate::layer::Layer;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::iter;

/// The input of several linear maps, `[.., size]`, whose sums are made once for all of them.
#[derive(Debug)]
pub(crate) struct SharedInput<B: Backend, const D: usize> {
    input: Tensor<B, D>,
    /// The sums that were asked for so far, by statistics and whether rows end with the 1 of a bias.
    known: Vec<((Demand, bool), LayerStatistics<B>)>,
}

impl<B: Backend, const D: usize> SharedInput<B, D> {
    pub(crate) fn new(input: Tensor<B, D>) -> Self {
        Self {
            input,
            known: Vec::new(),
        }
    }

    pub(super) fn dims(&self) -> [usize; D] {
        self.input.dims()
    }

    /// The second moment that `spectrum` asks for.
    pub(super) fn moment(&self, layer: Layer) -> Moment<B> {
        Moment::of_rows(layer, &self.input)
    }

    /// The statistics of a layer that are asked for.
    pub(super) fn statistics(&mut self, layer: Layer, demand: Demand) -> LayerStatistics<B> {
        let key = (demand, layer.bias.is_some());
        if let Some((_, known)) = self.known.iter().find(|(known, _)| *known == key) {
            return known.clone();
        }
        let mut seen = SeenInputs::new(layer, demand);
        seen.activations(|| ActivationSums::of_rows(untracked(&self.input)));
        seen.rows(|| iter::once(SampleRows::of_tokens(untracked(&self.input), None)));
        self.known.push((key, seen.statistics.clone()));
        seen.statistics
    }
}
