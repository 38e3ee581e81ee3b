use super::{Devices, MacPreconditioner};
use crate::record::Recorder;
use crate::record::layer::LayerParameters;
use crate::survey::Survey;
use burn::module::ParamId;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use std::collections::BTreeMap;

/// A layer found in the module, with what its recorders saw since the last step.
pub(super) struct Found<B: AutodiffBackend> {
    pub(super) parameters: LayerParameters,
    pub(super) path: String,
    pub(super) recorders: Vec<Recorder<B>>,
    pub(super) sums: Option<Tensor<B::InnerBackend, 2>>,
    pub(super) skipped: bool,
}

impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Gathers the recorders by the weight they stand for, with the sums they hold.
    pub(super) fn find(&self, survey: &Survey<B>, devices: Devices) -> Vec<Found<B>> {
        let mut layers: BTreeMap<ParamId, Found<B>> = BTreeMap::new();
        for found in &survey.recorders {
            let known = found
                .parameters
                .and_then(|parameters| Some((parameters, survey.parameter(parameters.weight)?)))
                // A frozen layer has neither gradients nor statistics.
                .filter(|(_, weight)| weight.trained);
            let Some((parameters, weight)) = known else {
                continue;
            };
            let sums = match devices {
                Devices::Own => found.recorder.take(&weight.device),
                Devices::All => found.recorder.take_all(&weight.device),
            };
            let sums = sums.map(Tensor::inner);
            let layer = layers.entry(parameters.weight).or_insert_with(|| Found {
                parameters,
                path: weight.layer_path().to_string(),
                recorders: Vec::new(),
                sums: None,
                skipped: self.skip_layers.cover(weight.layer_path()),
            });
            layer.recorders.push(found.recorder.clone());
            layer.sums = match (layer.sums.take(), sums) {
                (Some(left), Some(right)) => Some(left + right),
                (left, right) => left.or(right),
            };
        }
        layers.into_values().collect()
    }
}
