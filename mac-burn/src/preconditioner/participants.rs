//! The layers that take part in a step, and what it asks their recorders for.

use super::MacPreconditioner;
use super::warnings::Warning;
use crate::MacError;
use crate::inventory::{Inventory, Parameter};
use crate::layer::Layer;
use crate::statistics::collector::{ModuleRecorder, RecorderHolder};
use crate::statistics::{Demand, LayerStatistics, Recorder};
use burn::module::ParamId;
use burn::tensor::backend::AutodiffBackend;
use std::collections::HashMap;

/// A layer that takes part in a step: it has a gradient and is not skipped.
pub(super) struct Participant<B: AutodiffBackend> {
    pub(super) layer: Layer,
    pub(super) recorders: Vec<Recorder<B>>,
    pub(super) statistics: Option<LayerStatistics<B::InnerBackend>>,
}

impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Takes out the layers of weights that were in several maps, at a step that is not due: passes that were recorded for other optimizers need not be all.
    pub(super) fn forget_layers_seen_for_others(&self, inventory: &mut Inventory<B>) {
        for found in &mut inventory.recorders {
            let is_new = |layer: Layer| !self.curvatures.contains_key(&layer.weight);
            if found.layer.is_some_and(is_new) && found.recorder.was_in_several_maps() {
                found.layer = None;
            }
        }
    }

    /// The layers with a recorder that take part in a step, in the order of the module, with the statistics of all devices.
    pub(super) fn participants(
        &self,
        inventory: &Inventory<B>,
    ) -> Result<Vec<Participant<B>>, MacError> {
        let mut participants = Vec::<Participant<B>>::new();
        let mut positions = HashMap::<ParamId, usize>::new();
        for found in &inventory.recorders {
            let (Some(latest), Some(layer)) = (found.layer, self.layer_of(found)) else {
                continue;
            };
            let Some(weight) = inventory.parameter(layer.weight) else {
                continue;
            };
            let mut all = found.statistics();
            // Passes of another weight are a mistake of the recorder that ran them, if the module has that weight.
            if let Some(other) = all.iter().find(|recorded| {
                !recorded.of_clone
                    && recorded.layer.weight != layer.weight
                    && inventory.parameter(recorded.layer.weight).is_some()
            }) {
                return Err(MacError::SharedRecorder {
                    first: inventory.path_of(other.layer),
                    second: inventory.path_of(layer),
                });
            }
            all.retain(|recorded| recorded.layer.weight == layer.weight);
            if !weight.has_gradient || self.leaves_alone(layer, weight.layer_path()) {
                continue;
            }
            if !all.is_empty() && !inventory.are_same_map(latest, layer) {
                all.clear();
                self.warn_of_another_map(weight);
            }
            let position = *positions.entry(layer.weight).or_insert_with(|| {
                participants.push(Participant {
                    layer,
                    recorders: Vec::new(),
                    statistics: None,
                });
                participants.len() - 1
            });
            let participant = &mut participants[position];
            if participant.layer.kind != layer.kind {
                return Err(MacError::WeightOfTwoKinds {
                    path: inventory.path_of(layer),
                    first: participant.layer.kind.name(),
                    second: layer.kind.name(),
                });
            }
            participant.recorders.push(found.recorder.shared());
            for recorded in all {
                let statistics = recorded.statistics.inner().on_device(&weight.device);
                participant.statistics = Some(match participant.statistics.take() {
                    Some(earlier) => earlier.add(statistics),
                    None => statistics,
                });
            }
        }
        Ok(participants)
    }

    /// Lets the recorders of a layer begin anew, and tells them which passes are wanted.
    pub(super) fn end_recording(&self, participant: &Participant<B>) {
        let curvature = self.curvatures.get(&participant.layer.weight);
        let demand = curvature.map(|curvature| curvature.demand());
        for recorder in &participant.recorders {
            recorder.end_step(participant.layer);
            recorder.subscribe(&self.schedule, demand);
        }
    }

    /// Discards what was seen of weights of several maps. Each may be the weight of one map at the next step that is due.
    pub(super) fn end_recording_of_several_maps(&mut self, inventory: &Inventory<B>) {
        for (id, recorder) in &inventory.in_several_maps {
            let Some(weight) = inventory.parameter(*id) else {
                continue;
            };
            if !weight.has_gradient {
                continue;
            }
            recorder.end_step_of_several_maps();
            let skipped = self.skips(weight.layer_path());
            let mut demand = self.method.kind.demand();
            if let Some(curvature) = self.curvatures.get_mut(id) {
                demand = curvature.demand();
                if self.step.is_multiple_of(self.tinv) {
                    curvature.refresh(self.step + 1);
                }
                self.warn_of_another_map(weight);
            }
            let demand = if skipped { Demand::default() } else { demand };
            recorder.subscribe(&self.schedule, Some(demand));
        }
    }

    /// Warns of a step that adds nothing to the statistics of a weight, unless its curvature is measured and takes none.
    fn warn_of_another_map(&self, weight: &Parameter<B>) {
        let curvature = self.curvatures.get(&weight.id);
        if curvature.is_some_and(|curvature| curvature.is_measured()) {
            return;
        }
        self.warnings.warn(Warning::AnotherMap(weight.id), || {
            format!(
                "`{}` was used in several linear maps, or in another than the one that its statistics are of: such steps add nothing to its statistics",
                weight.path
            )
        });
    }

    /// The layers of recorders and of curvatures.
    pub(crate) fn known_layers(&self, inventory: &Inventory<B>) -> impl Iterator<Item = Layer> {
        let of_curvatures = self.curvatures.values().map(|curvature| curvature.layer());
        let recorders = inventory.recorders.iter();
        of_curvatures.chain(recorders.filter_map(|found| self.layer_of(found)))
    }

    /// The layer that a recorder stands for. For a recorder of the backend it is that of the weight's curvature, if there is one, since its latest pass may be
    /// of another map.
    fn layer_of(&self, found: &ModuleRecorder<B>) -> Option<Layer> {
        let layer = found.layer?;
        let curvature = self.curvatures.get(&layer.weight);
        match curvature.filter(|_| found.holder == RecorderHolder::Backend) {
            Some(curvature) => Some(curvature.layer()),
            None => Some(layer),
        }
    }

    pub(super) fn unsubscribe_from_layers_left_alone(&self, inventory: &Inventory<B>) {
        for recorder in &inventory.superseded {
            recorder.subscribe(&self.schedule, Some(Demand::default()));
        }
        for found in &inventory.recorders {
            let Some(layer) = self.layer_of(found) else {
                continue;
            };
            // What a backend has seen of a weight without a gradient may be a look at it.
            if let Some(weight) = inventory.parameter(layer.weight)
                && (weight.has_gradient || found.holder != RecorderHolder::Backend)
                && self.leaves_alone(layer, weight.layer_path())
            {
                let nothing = Some(Demand::default());
                found.recorder.subscribe(&self.schedule, nothing);
            }
        }
    }
}
