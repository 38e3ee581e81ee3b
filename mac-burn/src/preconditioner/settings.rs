//! What can be changed and read between steps.

use super::MacPreconditioner;
use crate::MacError;
use crate::config::{check_damping, check_stat_decay};
use crate::curvature::Curvature;
use crate::dense::DenseCurvature;
use crate::report::Report;
use crate::survey::Survey;
use burn::module::{AutodiffModule, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use std::collections::HashMap;

impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Changes the damping `ρ` from the next step on.
    ///
    /// A layer with an [`InputCovariance`](crate::InputCovariance) is inverted again on the host, `O(size³)`.
    ///
    /// # Errors
    ///
    /// If it is outside (0, ∞], or an input covariance cannot be inverted with it; nothing is
    /// changed then.
    pub fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        check_damping(damping)?;
        let mut dense = self.dense.clone();
        dense
            .values_mut()
            .try_for_each(|curvature| curvature.set_damping(damping))?;
        self.dense = dense;
        self.damping = damping;
        if let Some(waiting) = &mut self.loaded {
            waiting.set_damping(damping);
        }
        Ok(())
    }

    /// Changes the decay `β` of the moving averages from the next step on.
    ///
    /// # Errors
    ///
    /// If it is outside [0, 1); nothing is changed then.
    pub fn set_stat_decay(&mut self, stat_decay: f64) -> Result<(), MacError> {
        check_stat_decay(stat_decay)?;
        self.stat_decay = stat_decay;
        if let Some(waiting) = &mut self.loaded {
            waiting.set_stat_decay(stat_decay);
        }
        Ok(())
    }

    /// The damping `ρ` in use.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// The decay `β` of the moving averages in use.
    pub fn stat_decay(&self) -> f64 {
        self.stat_decay
    }

    /// The moving average of `[x̄ ; 1]` of the layer with this weight, not bias-corrected.
    ///
    /// # Shapes
    ///
    /// - output: `[means, size + 1]`: one mean for a `Linear`, one a group for a `Conv2d`, two (of the
    ///   tokens, and through attention) for the fused projection of a `SelfAttention`
    pub fn activation_ema(&self, weight: ParamId) -> Option<Tensor<B::InnerBackend, 2>> {
        self.layers.get(&weight).map(Curvature::ema)
    }

    /// The mean activation `[x̄ ; 1]` that the layer with this weight is preconditioned by.
    ///
    /// # Shapes
    ///
    /// - output: `[means, size + 1]`
    pub fn mean_activation(&self, weight: ParamId) -> Option<Tensor<B::InnerBackend, 2>> {
        self.layers.get(&weight)?.mean().cloned()
    }

    /// What is covered and what was seen. Reads from the device: not for every step.
    pub fn report<M: AutodiffModule<B>>(&self, module: &M) -> Report {
        let survey = Survey::of(module);
        let settled = self.settled(&survey);
        Report::new(&survey, settled.as_ref().unwrap_or(self))
    }

    pub(crate) fn layers(&self) -> &HashMap<ParamId, Curvature<B::InnerBackend>> {
        &self.layers
    }

    pub(crate) fn dense(&self) -> &HashMap<ParamId, DenseCurvature<B::InnerBackend>> {
        &self.dense
    }

    pub(crate) fn skips(&self, layer_path: &str) -> bool {
        self.skip_layers.cover(layer_path)
    }

    pub(crate) fn step(&self) -> u64 {
        self.step
    }
}
