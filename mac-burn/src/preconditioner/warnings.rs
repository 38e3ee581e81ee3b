use super::MacPreconditioner;
use crate::curvature::Batches;
use crate::inventory::{Inventory, Parameter};
use crate::report::{lines_by_reason, uncovered};
use crate::statistics::collector::RecorderHolder;
use burn::module::ParamId;
use burn::tensor::backend::AutodiffBackend;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The share of parameters in recorded layers below which an optimizer without an auxiliary one has little to do.
const LOW_COVERAGE: f64 = 0.2;
/// The number of parameters that a warning names.
const NAMED: usize = 3;

/// A condition that is no error, but hardly meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Warning {
    NoRecorder,
    UnusedPatterns,
    LowCoverage,
    NothingRecorded(ParamId),
    AnotherMap(ParamId),
    CovarianceOfNoLayer(ParamId),
    MostlyRejected(ParamId),
}

/// The conditions that were logged. Each is logged once.
#[derive(Debug, Default)]
pub(super) struct Warnings(Arc<Mutex<HashSet<Warning>>>);

impl Warnings {
    /// Enters a condition; whether it is new.
    fn enter(&self, warning: Warning) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(warning)
    }

    pub(super) fn warn(&self, warning: Warning, text: impl FnOnce() -> String) {
        if self.enter(warning) {
            log::warn!("{}", text());
        }
    }

    /// The same conditions, not a copy.
    pub(super) fn shared(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A copy of an optimizer may step another model.
impl Clone for Warnings {
    fn clone(&self) -> Self {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::new(Mutex::new(known.clone())))
    }
}

impl<B: AutodiffBackend> MacPreconditioner<B> {
    pub(super) fn warn_of_what_has_no_effect(&self, inventory: &Inventory<B>) {
        if self.finds_no_layer(inventory) {
            self.warnings.warn(Warning::NoRecorder, || {
                let reasons = lines_by_reason(&uncovered(inventory, std::iter::empty()));
                format!(
                    "no recorded layer in the module, nothing is preconditioned: {}",
                    reasons.join("; ")
                )
            });
        }
        if self.warnings.enter(Warning::UnusedPatterns) {
            let layers = inventory.parameters.iter().map(Parameter::layer_path);
            for pattern in self.skip_layers.unused(layers) {
                log::warn!("`skip_layers` has \"{pattern}\", which names no layer of the module");
            }
        }
        let unknown = self.curvatures.iter().filter(|(weight, curvature)| {
            curvature.is_measured() && inventory.parameter(**weight).is_none()
        });
        for (weight, _) in unknown {
            self.warnings
                .warn(Warning::CovarianceOfNoLayer(*weight), || {
                    "an input covariance belongs to no layer of the module and is not used: \
                     measure it after loading the model's record, which changes parameter ids"
                        .into()
                });
        }
    }

    fn finds_no_layer(&self, inventory: &Inventory<B>) -> bool {
        let mut recorders = inventory.recorders.iter();
        // A backend that records has a recorder for each parameter, seen or not.
        let all_unseen =
            recorders.all(|found| found.holder == RecorderHolder::Backend && found.layer.is_none());
        all_unseen && self.curvatures.is_empty()
    }

    /// Warns at the first step if few of the parameters that take MAC's step are in recorded layers. Layers that are skipped
    /// by the configuration, and recorded embeddings that are left alone, are not asked for.
    pub(crate) fn warn_of_low_coverage(&self, inventory: &Inventory<B>) {
        if self.finds_no_layer(inventory) || !self.warnings.enter(Warning::LowCoverage) {
            return;
        }
        let recorded: HashSet<ParamId> = self
            .known_layers(inventory)
            .flat_map(|layer| layer.parameters().collect::<Vec<_>>())
            .collect();
        let embeddings = inventory
            .layers()
            .filter(|layer| self.leaves_embedding_alone(*layer));
        let embeddings: HashSet<ParamId> = embeddings.map(|layer| layer.weight).collect();
        let stepped = inventory.parameters.iter().filter(|parameter| {
            let is_left_alone =
                self.skips(parameter.layer_path()) || embeddings.contains(&parameter.id);
            parameter.trained && parameter.has_gradient && !is_left_alone
        });
        let (recorded, mut others): (Vec<_>, Vec<_>) =
            stepped.partition(|parameter| recorded.contains(&parameter.id));
        let elements =
            |of: &[&Parameter<B>]| -> usize { of.iter().map(|found| found.num_elements()).sum() };
        let covered = elements(&recorded);
        let all = covered + elements(&others);
        if covered as f64 >= LOW_COVERAGE * all as f64 {
            return;
        }
        others.sort_by_key(|parameter| std::cmp::Reverse(parameter.num_elements()));
        others.truncate(NAMED);
        let largest: Vec<String> = others
            .iter()
            .map(|parameter| format!("`{}` ({})", parameter.path, parameter.num_elements()))
            .collect();
        let mut reasons = Vec::new();
        for found in uncovered(inventory, self.known_layers(inventory)) {
            let reason = found.reason.to_string();
            if others.iter().any(|parameter| parameter.path == found.path)
                && !reasons.contains(&reason)
            {
                reasons.push(reason);
            }
        }
        log::warn!(
            "only {:.1} % of the parameters that are trained ({covered} of {all}) are in recorded layers; the others take the \
             step without preconditioning, the largest of them {}: {}; or hand them to `Mac::with_auxiliary_optimizer`",
            100.0 * covered as f64 / all as f64,
            largest.join(", "),
            reasons.join("; ")
        );
    }

    /// Warns if most statistics of the layer with this weight were left out of its mean.
    pub(crate) fn warn_if_mostly_rejected(&self, weight: ParamId, batches: Batches) {
        if !batches.are_mostly_rejected() {
            return;
        }
        self.warnings.warn(Warning::MostlyRejected(weight), || {
            let path = self.paths.get(&weight).cloned();
            format!(
                "{} of {} recorded batches of `{}` held a NaN or infinity and were left out of its averages: look where the \
                 inputs of this layer, or the gradients at its outputs, stop being finite, at a learning rate that is too high or at numbers beyond the range of \
                 half precision",
                batches.rejected,
                batches.offered,
                path.unwrap_or_else(|| weight.to_string())
            )
        });
    }
}
