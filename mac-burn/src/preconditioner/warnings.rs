//! What is not an error, but hardly meant: each is logged once.

use super::MacPreconditioner;
use super::found::Found;
use crate::survey::{Parameter, Survey};
use burn::module::ParamId;
use burn::tensor::backend::AutodiffBackend;

/// What has been logged already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Warning {
    NoRecorder,
    UnusedPatterns,
    NothingRecorded(ParamId),
    CovarianceOfNoLayer(ParamId),
}

impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Looks at what the module is asked to have, and what it has.
    pub(super) fn warn_of_what_has_no_effect(&mut self, survey: &Survey<B>) {
        if survey.recorders.is_empty() {
            self.warn(Warning::NoRecorder, || {
                "no recorded layer in the module: MAC preconditions nothing; \
                 use MacLinear, MacConv2d, MacMultiHeadAttention, MacSelfAttention, \
                 MacTransformerEncoder or MacTransformerDecoder in place of plain layers"
                    .into()
            });
        }
        self.warn_of_unused_patterns(survey);
        self.warn_of_foreign_covariances(survey);
    }

    pub(super) fn warn_of_nothing_recorded(&mut self, layer: &Found<B>) {
        self.warn(Warning::NothingRecorded(layer.parameters.weight), || {
            format!(
                "`{}` has gradients, but no forward pass of it was recorded: \
                 its gradients are not preconditioned",
                layer.path
            )
        });
    }

    fn warn_of_unused_patterns(&mut self, survey: &Survey<B>) {
        if !self.warned.insert(Warning::UnusedPatterns) {
            return;
        }
        let layers = survey.parameters.iter().map(Parameter::layer_path);
        for pattern in self.skip_layers.unused(layers) {
            log::warn!("`skip_layers` has \"{pattern}\", which names no layer of the module");
        }
    }

    fn warn_of_foreign_covariances(&mut self, survey: &Survey<B>) {
        let weights: Vec<_> = self.dense.keys().copied().collect();
        for weight in weights {
            if survey.parameter(weight).is_none() {
                self.warn(Warning::CovarianceOfNoLayer(weight), || {
                    "an input covariance belongs to no layer of the module and is not used: \
                     measure it after loading the model's record, which changes parameter ids"
                        .into()
                });
            }
        }
    }

    fn warn(&mut self, warning: Warning, text: impl FnOnce() -> String) {
        if self.warned.insert(warning) {
            log::warn!("{}", text());
        }
    }
}
