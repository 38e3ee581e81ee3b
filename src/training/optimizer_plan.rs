use std::error::Error;

use burn::config::Config;
use burn::module::AutodiffModule;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, SgdConfig};
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{InputCovariance, MacConfig, Report};

use super::WithOptimizer;
use crate::optimizer_choice::OptimizerChoice;

/// Which optimizer trains, and with what settings.
#[derive(Config, Debug)]
pub struct OptimizerPlan {
    /// The optimizer.
    pub choice: OptimizerChoice,
    /// The learning rate that a schedule starts from.
    pub lr: f64,
    /// MAC's settings, momentum and weight decay among them.
    pub mac: MacConfig,
    /// Momentum of SGD, and the first of AdamW's two, in [0, 1); the latter also as the second optimizer.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Weight decay of SGD and AdamW, 0 or more.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Learning rate of AdamW for what MAC does not cover; at 0 that takes MAC's own step.
    #[config(default = 0.0)]
    pub second_lr: f64,
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
                if self.second_lr == 0.0 {
                    let (model, mac) = run.run(mac)?;
                    let report = mac.report(&model);
                    return Ok((model, Some(report)));
                }
                let adamw = self.adamw(0.0).init();
                let mac = mac.with_second_optimizer(adamw, self.second_lr / self.lr)?;
                let (model, mac) = run.run(mac)?;
                let report = mac.report(&model);
                Ok((model, Some(report)))
            }
            OptimizerChoice::Sgd => Ok((run.run(self.sgd().init())?.0, None)),
            OptimizerChoice::Adamw => Ok((run.run(self.adamw(self.weight_decay).init())?.0, None)),
        }
    }

    /// Without dampening, as in MAC.
    fn sgd(&self) -> SgdConfig {
        let momentum = MomentumConfig::new()
            .with_momentum(self.momentum)
            .with_dampening(0.0);
        SgdConfig::new()
            .with_momentum(Some(momentum))
            .with_weight_decay(Some(WeightDecayConfig::new(self.weight_decay as f32)))
    }

    fn adamw(&self, weight_decay: f64) -> AdamWConfig {
        AdamWConfig::new()
            .with_beta_1(self.momentum as f32)
            .with_weight_decay(weight_decay as f32)
    }
}
