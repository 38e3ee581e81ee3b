use crate::survey::{Parameter, Survey};
use burn::module::ParamId;
use burn::tensor::backend::Backend;
use std::collections::HashSet;
use std::fmt;

/// What a second optimizer steps.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SecondOptimizerReport {
    /// The paths of its parameters, in the order of the module.
    pub paths: Vec<String>,
    /// The elements of these parameters.
    pub parameters: usize,
    /// What it multiplies the learning rate by.
    pub lr_factor: f64,
}

impl SecondOptimizerReport {
    pub(crate) fn new<B: Backend>(
        survey: &Survey<B>,
        uncovered: &HashSet<ParamId>,
        lr_factor: f64,
    ) -> Self {
        let all = survey.parameters.iter();
        let stepped = all.filter(|found| found.trained && uncovered.contains(&found.id));
        Self {
            paths: stepped.clone().map(|found| found.path.clone()).collect(),
            parameters: stepped.map(Parameter::num_elements).sum(),
            lr_factor,
        }
    }
}

impl fmt::Display for SecondOptimizerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} parameters stepped by the second optimizer, learning rate times {}",
            self.parameters, self.lr_factor
        )
    }
}
