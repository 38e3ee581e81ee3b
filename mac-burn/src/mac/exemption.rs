use crate::patterns::PathPatterns;
use crate::survey::Survey;
use crate::{MacConfig, MacError};
use burn::module::ParamId;
use burn::tensor::backend::Backend;
use std::collections::HashSet;

/// Which parameters have no weight decay.
#[derive(Debug, Clone)]
pub(super) struct Exemption {
    patterns: PathPatterns,
    norms_and_biases: bool,
}

impl Exemption {
    pub(super) fn new(config: &MacConfig) -> Result<Self, MacError> {
        Ok(Self {
            patterns: PathPatterns::new("no_decay", &config.no_decay)?,
            norms_and_biases: config.no_decay_norms_and_biases,
        })
    }

    pub(super) fn of<B: Backend>(&self, survey: &Survey<B>) -> HashSet<ParamId> {
        let exempt = survey.parameters.iter().filter(|parameter| {
            (self.norms_and_biases && parameter.shape.len() <= 1)
                || self.patterns.cover(&parameter.path)
        });
        exempt.map(|parameter| parameter.id).collect()
    }
}
