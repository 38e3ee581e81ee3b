use std::error::Error;

use burn::config::Config;
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, Optimizer, SgdConfig, SimpleOptimizer};
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{InputCovariance, MacConfig, Report};

use super::{ExemptingOptimizer, Exemption};
use crate::optimizer_choice::OptimizerChoice;

/// A task for an optimizer whose type the command line decides.
pub trait WithOptimizer<B: AutodiffBackend, M: AutodiffModule<B>> {
    /// Trains, and returns the network and the optimizer.
    ///
    /// # Errors
    /// If the training ends early.
    fn run<O: Optimizer<M, B> + 'static>(self, optimizer: O) -> Result<(M, O), Box<dyn Error>>;
}

/// An optimizer and its settings.
#[derive(Config, Debug)]
pub struct OptimizerPlan {
    /// The optimizer.
    pub choice: OptimizerChoice,
    /// The learning rate that a schedule starts from.
    pub lr: f64,
    /// MAC's settings, momentum and weight decay among them.
    pub mac: MacConfig,
    /// Momentum of SGD, and the first of AdamW's two, in [0, 1); the latter also as the auxiliary optimizer.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Whether SGD looks ahead along its momentum.
    #[config(default = false)]
    pub sgd_nesterov: bool,
    /// Weight decay of SGD and AdamW, 0 or more, for all but the parameters that have none with MAC.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Learning rate of AdamW for what MAC does not cover; at 0 that takes MAC's own step.
    #[config(default = 0.0)]
    pub auxiliary_lr: f64,
    /// Whether MAC preconditions the first layer by the covariance of its inputs.
    #[config(default = true)]
    pub input_covariance: bool,
}

impl OptimizerPlan {
    /// Whether the covariance of the first layer's inputs is used.
    pub fn needs_input_covariance(&self) -> bool {
        self.choice == OptimizerChoice::Mac && self.input_covariance
    }

    /// Makes the optimizer and trains with it; MAC's report comes with the network. A `covariance` is used only where the
    /// plan says so.
    ///
    /// # Errors
    /// If a setting is out of its range, the covariance cannot be inverted, or the training ends early.
    pub fn train<B, M>(
        &self,
        covariance: Option<InputCovariance<B>>,
        run: impl WithOptimizer<B, M>,
    ) -> Result<(M, Option<Report>), Box<dyn Error>>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B> + 'static,
    {
        match self.choice {
            OptimizerChoice::Mac => {
                let mut mac = self.mac.try_init::<B, M>()?;
                if let Some(covariance) = covariance.filter(|_| self.input_covariance) {
                    mac = mac.with_input_covariance(&covariance)?;
                }
                if self.auxiliary_lr == 0.0 {
                    let (model, mac) = run.run(mac)?;
                    let report = mac.report(&model);
                    return Ok((model, Some(report)));
                }
                let adamw = self.adamw(0.0).init();
                let mac = mac.with_auxiliary_optimizer(adamw, self.auxiliary_lr / self.lr)?;
                let (model, mac) = run.run(mac)?;
                let report = mac.report(&model);
                Ok((model, Some(report)))
            }
            OptimizerChoice::Sgd => {
                let [decayed, exempt] =
                    [self.weight_decay, 0.0].map(|decay| self.sgd(decay).init());
                self.exempting(decayed, exempt, run)
            }
            OptimizerChoice::Adamw => {
                let [decayed, exempt] =
                    [self.weight_decay, 0.0].map(|decay| self.adamw(decay).init());
                self.exempting(decayed, exempt, run)
            }
        }
    }

    fn exempting<B, M, O>(
        &self,
        decayed: OptimizerAdaptor<O, M, B>,
        exempt: OptimizerAdaptor<O, M, B>,
        run: impl WithOptimizer<B, M>,
    ) -> Result<(M, Option<Report>), Box<dyn Error>>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B> + 'static,
        O: SimpleOptimizer<B::InnerBackend> + 'static,
    {
        let exemption = Exemption::of(&self.mac)?;
        let optimizer = ExemptingOptimizer::new(decayed, exempt, exemption);
        Ok((run.run(optimizer)?.0, None))
    }

    /// Without dampening, as in MAC.
    fn sgd(&self, weight_decay: f64) -> SgdConfig {
        let momentum = MomentumConfig::new()
            .with_momentum(self.momentum)
            .with_dampening(0.0)
            .with_nesterov(self.sgd_nesterov);
        SgdConfig::new()
            .with_momentum(Some(momentum))
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay as f32)))
    }

    /// With PyTorch's ε, a thousandth of Burn's own default.
    fn adamw(&self, weight_decay: f64) -> AdamWConfig {
        AdamWConfig::new()
            .with_beta_1(self.momentum as f32)
            .with_epsilon(1e-8)
            .with_weight_decay(weight_decay as f32)
    }
}

#[cfg(test)]
mod tests;
