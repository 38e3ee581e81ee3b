//! Statistics of all replicas of a data-parallel training.

use super::MacPreconditioner;
use super::participants::Participant;
use crate::MacError;
use crate::inventory::Inventory;
use crate::replicas::{LayerShare, ReplicaError, Replicas};
use crate::statistics::collector::RecorderHolder;
use burn::tensor::backend::{AutodiffBackend, Backend};

/// The replicas, and what is known of them.
#[derive(Debug, Clone)]
pub(super) struct Reduction<B: Backend> {
    replicas: Replicas<B>,
    /// Whether all ranks know the layer of each recorder.
    all_known: bool,
}

impl<B: Backend> Reduction<B> {
    /// As at the start of a run.
    pub(super) fn begin(&mut self) {
        self.all_known = false;
    }
}

impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Sums the statistics of each recording step over all [replicas](crate::replicas) of a data-parallel training, so that all have the same
    /// curvatures. The gradients must be reduced before: by [`Replicas::reduce_gradients`], or by Burn's `ddp`.
    ///
    /// All ranks take the same steps, with the same configuration, from the same parameters and record; input covariances are measured with the same
    /// inputs on each. A step that records reads a few numbers from the device, the counts of all ranks. The replicas are not part of the record.
    pub fn with_replicas(mut self, replicas: Replicas<B::InnerBackend>) -> Self {
        self.reduction = Some(Reduction {
            replicas,
            all_known: false,
        });
        self
    }

    /// The positions of recorders whose layer some rank does not know yet, since it has not used it: they keep what they have seen.
    pub(super) fn recorders_not_known_to_all(
        &mut self,
        inventory: &Inventory<B>,
    ) -> Result<Vec<usize>, MacError> {
        let Some(reduction) = &mut self.reduction else {
            return Ok(Vec::new());
        };
        let Some(first) = inventory.parameters.first() else {
            return Ok(Vec::new());
        };
        // Recorders in the user's layers, or of a backend, learn theirs by passes, and forget it with a record of the model. Whether ranks ask each other is the same on
        // all of them.
        let recorders = inventory.recorders.iter();
        let mut known_by_passes = recorders
            .clone()
            .filter(|found| found.holder != RecorderHolder::RecordedLayer);
        let has_others = known_by_passes.next().is_some();
        let due = self.step.is_multiple_of(self.tcov);
        if reduction.all_known && !(has_others && due) {
            return Ok(Vec::new());
        }
        let known: Vec<bool> = recorders.map(|found| found.layer.is_some()).collect();
        let ranks = reduction.replicas.count_ranks(
            "recorders with a known layer",
            self.step,
            &known,
            first.device.clone(),
        )?;
        let world_size = reduction.replicas.world_size();
        let ranks = ranks.into_iter().enumerate();
        let withheld = ranks.filter(|(_, ranks)| *ranks < world_size);
        let withheld: Vec<usize> = withheld.map(|(position, _)| position).collect();
        reduction.all_known = withheld.is_empty();
        Ok(withheld)
    }

    /// Replaces the statistics of this rank that the step takes by those of all ranks.
    pub(super) fn reduce_statistics(
        &self,
        inventory: &Inventory<B>,
        participants: &mut [Participant<B>],
    ) -> Result<(), MacError> {
        let Some(reduction) = &self.reduction else {
            return Ok(());
        };
        let due = self.step.is_multiple_of(self.tcov);
        let mut layers = Vec::new();
        for participant in participants {
            let layer = participant.layer;
            let curvature = self.curvatures.get(&layer.weight);
            let demand_of_new = || self.method.kind.demand_of(layer);
            let demand = curvature.map_or_else(demand_of_new, |curvature| curvature.demand());
            // As `observe` has it: a layer without a curvature waits for no due step.
            if demand.is_empty() || !(due || curvature.is_none()) {
                continue;
            }
            let Some((position, weight)) = inventory.position_and_parameter(layer.weight) else {
                continue;
            };
            if !layer.kind.fits(&weight.shape) {
                return Err(MacError::Replica(ReplicaError::Failed {
                    rank: reduction.replicas.rank(&weight.device),
                    reason: format!(
                        "the weight of `{}` has the shape {:?}, which is none of a {}",
                        inventory.path_of(layer),
                        weight.shape,
                        layer.kind.name()
                    ),
                }));
            }
            layers.push(LayerShare {
                layer,
                weight: &weight.shape,
                position,
                bias: inventory.trained_bias(layer).and_then(|bias| {
                    let (position, _) = inventory.position_and_parameter(bias)?;
                    Some(position)
                }),
                dtype: crate::precision::wider_of_f32(weight.dtype),
                device: &weight.device,
                demand,
                statistics: &mut participant.statistics,
            });
        }
        Ok(reduction.replicas.reduce_statistics(self.step, layers)?)
    }
}
