//! Passes of linear maps that a layer applies at each step of a sequence.

use super::backward_hook::{
    GradientSums, StepGradients, gather_on_backward, is_enabled, on_backward, on_backward_of_steps,
};
use super::layer_statistics::{Demand, LayerStatistics};
use super::moments::{self, GRADIENT_MOMENT, Sink};
use super::output_gradients::GradientRows;
use super::passes::{Passes, lock};
use super::shared_input::SharedInput;
use crate::layer::{Layer, LayerKind};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::sync::{Arc, OnceLock};

/// A pass of a linear map that a layer applies at each step of a sequence.
///
/// All that the map sees is known when the last step is made, and the pass counts when gradients flow back to the map's output at the first step,
/// through which those of all later steps flow.
pub(crate) struct MapPass<B: Backend> {
    layer: Layer,
    /// The statistics that optimizers ask for; none where the pass is not recorded.
    demand: Demand,
    passes: Option<Passes<B>>,
    /// Where `spectrum` takes moments of gradients from.
    sink: Option<Sink<B>>,
    seen: OnceLock<LayerStatistics<B>>,
    /// Whether it counts when gradients flow back, and not as soon as all is seen.
    waits: bool,
}

impl<B: Backend> MapPass<B> {
    pub(super) fn new(layer: Layer, demand: Demand, passes: Option<Passes<B>>) -> Self {
        Self {
            layer,
            demand,
            passes,
            sink: moments::gradient_sink(),
            seen: OnceLock::new(),
            waits: is_enabled::<B>(),
        }
    }

    /// Whether anybody wants to know what the map sees, or the gradients at its output.
    pub(crate) fn is_observed(&self) -> bool {
        !self.demand.is_empty() || self.sink.is_some() || moments::are_wanted::<B>()
    }

    /// The statistics of gradients that are asked for.
    fn of_outputs(&self) -> Demand {
        let of_sink = self.sink.as_ref().map(|_| Demand::of(&[GRADIENT_MOMENT]));
        self.demand.of_outputs().and(of_sink.unwrap_or_default())
    }

    /// Ends the forward pass with all that the map saw.
    ///
    /// # Shapes
    ///
    /// - input: `[samples, steps, size_input]`
    pub(crate) fn end(&self, input: &mut SharedInput<B, 3>) {
        moments::observe(|| input.moment(self.layer));
        if self.demand.is_empty() {
            return;
        }
        self.seen
            .get_or_init(|| input.statistics(self.layer, self.demand));
        if !self.waits {
            self.count(&Vec::new());
        }
    }

    /// Counts the pass. It is called within backward passes and uses no tensor.
    fn count(&self, sums: &GradientSums<B>) {
        if let Some(sink) = &self.sink {
            let moments = sums.iter().filter(|(found, _)| *found == GRADIENT_MOMENT);
            lock(sink).extend(moments.map(|(_, sums)| (self.layer, sums.clone())));
        }
        let (Some(passes), Some(seen)) = (&self.passes, self.seen.get()) else {
            return;
        };
        let mut statistics = seen.clone();
        for (statistic, sums) in sums {
            if self.demand.has(*statistic) {
                statistics.insert(*statistic, sums.clone());
            }
        }
        if !statistics.is_empty() {
            passes.count(self.layer, statistics);
        }
    }
}

/// The outputs of linear maps at each step of a sequence, with their gradients: of one map, or of the maps of a gate, whose outputs are added up and
/// so have the same gradients.
pub(crate) struct StepOutputs<B: Backend> {
    maps: Vec<Arc<MapPass<B>>>,
    /// The rows of the gradients of all steps; none where nothing is asked of them.
    rows: Option<GradientRows<Tensor<B, 2>>>,
    gradients: StepGradients,
}

impl<B: Backend> StepOutputs<B> {
    /// # Shapes
    ///
    /// - shape: `[samples, steps, size_output]`, that of the outputs of all steps
    pub(crate) fn new(maps: Vec<Arc<MapPass<B>>>, shape: [usize; 3]) -> Self {
        let [samples, steps, size] = shape;
        let maps = maps.into_iter();
        let maps: Vec<_> = maps
            .filter(|map| map.waits && (!map.demand.is_empty() || map.sink.is_some()))
            .collect();
        let demands = maps.iter().map(|map| map.of_outputs());
        let demand = demands.fold(Demand::default(), Demand::and);
        let (kind, places) = (LayerKind::Linear, [samples, steps]);
        let rows = GradientRows::of(demand, kind, &shape, size, places, None, || None);
        let gathered = if rows.is_some() { steps } else { 0 };
        Self {
            rows,
            gradients: StepGradients::new(gathered),
            maps,
        }
    }

    /// Returns the output of a step, and counts the passes of the maps when gradients flow back through what is returned at the first.
    ///
    /// # Shapes
    ///
    /// - output: `[samples, size_output]`
    pub(crate) fn observe(&self, step: usize, output: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.maps.is_empty() {
            return output;
        }
        match (step, &self.rows) {
            (0, None) => on_backward(output, None, self.count()),
            (0, Some(rows)) => {
                on_backward_of_steps(output, rows.clone(), &self.gradients, self.count())
            }
            (_, Some(_)) => gather_on_backward(output, &self.gradients, step),
            (_, None) => output,
        }
    }

    /// The function that counts the passes of all maps.
    fn count(&self) -> impl Fn(GradientSums<B>) + Send + Sync + 'static {
        let maps = self.maps.clone();
        move |sums| maps.iter().for_each(|map| map.count(&sums))
    }
}
