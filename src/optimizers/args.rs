use std::ops::Bound::{Excluded, Included};

use mac_burn::MacConfig;

use super::{LayerCurvature, LayerStep, OptimizerChoice, OptimizerPlan};
use crate::command_line::{AUXILIARY_HEADING, COVARIANCE_HEADING, CURVATURE_HEADING};
use crate::interval::{at_least_one, number_in};
use crate::training::Schedule;

/// The optimizer, as a command line describes it. The [defaults](OptimizerDefaults) are those of a program.
#[derive(clap::Args, Clone, Debug)]
pub struct OptimizerArgs {
    /// Optimizer
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerChoice>,

    /// Peak learning rate, in (0, 10], reached after the warm-up; decays to 0 along a cosine
    #[arg(long, allow_hyphen_values = true, value_parser = number_in((Excluded(0.0), Included(10.0))))]
    pub lr: Option<f64>,

    /// Warm-up steps, at most half of all
    #[arg(long)]
    pub warmup: Option<usize>,

    /// Momentum of SGD and of preconditioned gradients, in [0, 1); β₁ of AdamW. Muon's momentum is 0.95
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.9, value_parser = number_in(0.0..1.0))]
    pub momentum: f64,

    /// Weight decay, 0 or more
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    pub weight_decay: Option<f64>,

    /// Damping, in (0, inf]; with steps of known length relative to the variance of the inputs, and 1 if not given; with eva and kfac 0.03 if not given
    #[arg(long, allow_hyphen_values = true, help_heading = CURVATURE_HEADING,
          value_parser = number_in((Excluded(0.0), Included(f64::INFINITY))))]
    pub damping: Option<f64>,

    /// Decay of the moving averages of the curvature's statistics, in [0, 1)
    #[arg(long, allow_hyphen_values = true, help_heading = CURVATURE_HEADING, value_parser = number_in(0.0..1.0))]
    pub stat_decay: Option<f64>,

    /// Record the statistics of the curvature every n steps
    #[arg(long, help_heading = CURVATURE_HEADING, value_parser = at_least_one())]
    pub tcov: Option<usize>,

    /// Refresh the preconditioner every n steps
    #[arg(long, help_heading = CURVATURE_HEADING, value_parser = at_least_one())]
    pub tinv: Option<usize>,

    /// Learning rate of AdamW beside another optimizer, in (0, 1]; it rises and decays as the other's
    #[arg(long, allow_hyphen_values = true, help_heading = AUXILIARY_HEADING,
          value_parser = number_in((Excluded(0.0), Included(1.0))))]
    pub auxiliary_lr: Option<f64>,

    /// Precondition the first layer by its mean activation, not by the covariance of its inputs, which is measured before training
    #[arg(long, help_heading = COVARIANCE_HEADING)]
    pub no_input_covariance: bool,

    /// Do not precondition the layers whose path matches, such as "blocks.*.attention.**"; may be repeated. AdamW steps them if it
    /// is beside the optimizer
    #[arg(long, value_name = "PATTERN", help_heading = CURVATURE_HEADING)]
    pub skip_layers: Vec<String>,
}

/// MAC for runs of some hundred steps: statistics change faster than in the authors' long ones. Parameters that it does not cover
/// have no weight decay with any optimizer, since the AdamW beside it has none.
pub fn mac_for_short_runs() -> MacConfig {
    let mut no_decay = MacConfig::vit_imagenet().no_decay;
    no_decay.push("**.token_embedding".into());
    MacConfig::new()
        .with_weight_decay(1e-4)
        .with_no_decay_norms_and_biases(true)
        .with_no_decay(no_decay)
        .with_stat_decay(0.8)
        .with_tcov(5)
        .with_tinv(5)
}

/// The options of the optimizer that a command line does not give.
#[derive(Clone, Debug)]
pub struct OptimizerDefaults {
    /// The optimizer.
    pub optimizer: OptimizerChoice,
    /// The learning rates after the warm-up.
    pub lr: LearningRates,
    /// Steps in which the learning rate rises.
    pub warmup: usize,
    /// MAC's settings; SGD's weight decay is MAC's, and what has none with MAC has none with the others.
    pub mac: MacConfig,
    /// Weight decay of AdamW and Muon.
    pub adamw_weight_decay: f64,
    /// Whether SGD looks ahead along its momentum.
    pub sgd_nesterov: bool,
    /// Learning rate of AdamW beside another optimizer.
    pub auxiliary_lr: f64,
}

/// The learning rates of the optimizers, where the command line gives none.
#[derive(Clone, Copy, Debug)]
pub struct LearningRates {
    /// MAC's, and that of the other preconditioners.
    pub mac: f64,
    /// SGD's.
    pub sgd: f64,
    /// AdamW's, and Muon's, whose steps are as long.
    pub adamw: f64,
}

impl LearningRates {
    fn of(self, choice: OptimizerChoice) -> f64 {
        match (choice.step, choice.is_preconditioned()) {
            (LayerStep::Momentum, true) => self.mac,
            (LayerStep::Momentum, false) => self.sgd,
            (LayerStep::AdamW | LayerStep::Form(_) | LayerStep::Muon, _) => self.adamw,
        }
    }
}

impl OptimizerDefaults {
    /// Of a transformer: norms, biases, embeddings and positions have no weight decay, and AdamW takes them.
    pub fn transformer(lr: LearningRates) -> Self {
        Self {
            optimizer: OptimizerChoice::MAC_ADAMW,
            lr,
            warmup: 200,
            mac: mac_for_short_runs().with_damping(0.1),
            adamw_weight_decay: 0.05,
            sgd_nesterov: false,
            auxiliary_lr: 3e-2,
        }
    }

    /// The defaults by the name of the option, for the help of a program.
    pub fn in_words(&self) -> Vec<(&'static str, String)> {
        let LearningRates { mac, sgd, adamw } = self.lr;
        let (decay, adamw_decay) = (self.mac.weight_decay, self.adamw_weight_decay);
        vec![
            ("optimizer", self.optimizer.name().to_string()),
            (
                "lr",
                format!(
                    "{mac} for MAC and others with momentum, {sgd} for SGD, {adamw} for those that step with AdamW or Muon"
                ),
            ),
            ("warmup", self.warmup.to_string()),
            (
                "weight_decay",
                format!("{decay} with momentum, {adamw_decay} with adamw and muon"),
            ),
            ("damping", self.mac.damping.to_string()),
            ("stat_decay", self.mac.stat_decay.to_string()),
            ("tcov", self.mac.tcov.to_string()),
            ("tinv", self.mac.tinv.to_string()),
            ("auxiliary_lr", self.auxiliary_lr.to_string()),
        ]
    }
}

impl OptimizerArgs {
    /// The optimizer.
    pub fn choice(&self, defaults: &OptimizerDefaults) -> OptimizerChoice {
        self.optimizer.unwrap_or(defaults.optimizer)
    }

    fn lr(&self, defaults: &OptimizerDefaults) -> f64 {
        self.lr
            .unwrap_or_else(|| defaults.lr.of(self.choice(defaults)))
    }

    /// The learning rates of a run of `steps`, which rise in half of them at most, or short runs would not get to the rate.
    pub fn schedule(&self, defaults: &OptimizerDefaults, steps: usize) -> Schedule {
        Schedule {
            lr: self.lr(defaults),
            warmup: self.warmup.unwrap_or(defaults.warmup).min(steps / 2),
            warmup_start: 0.0,
            steps,
            whole_cosine: false,
        }
    }

    /// The optimizer with all its settings.
    pub fn plan(&self, defaults: &OptimizerDefaults) -> OptimizerPlan {
        let (mac, choice) = (&defaults.mac, self.choice(defaults));
        let weight_decay = self.weight_decay.unwrap_or(match choice.step {
            LayerStep::Momentum => mac.weight_decay,
            LayerStep::AdamW | LayerStep::Form(_) | LayerStep::Muon => defaults.adamw_weight_decay,
        });
        let damping = match choice.step {
            // Relative to the variance of the inputs.
            LayerStep::Form(_) => MacConfig::transformer().damping,
            LayerStep::Momentum | LayerStep::AdamW | LayerStep::Muon => {
                let own = choice.curvature.and_then(LayerCurvature::own_damping);
                own.unwrap_or(mac.damping)
            }
        };
        let mac = mac
            .clone()
            .with_momentum(self.momentum)
            .with_weight_decay(weight_decay)
            .with_damping(self.damping.unwrap_or(damping))
            .with_stat_decay(self.stat_decay.unwrap_or(mac.stat_decay))
            .with_tcov(self.tcov.unwrap_or(mac.tcov))
            .with_tinv(self.tinv.unwrap_or(mac.tinv))
            .with_skip_layers(self.skip_layers.clone());
        OptimizerPlan::new(choice, self.lr(defaults), mac)
            .with_momentum(self.momentum)
            .with_sgd_nesterov(defaults.sgd_nesterov)
            .with_weight_decay(weight_decay)
            .with_auxiliary_lr(self.auxiliary_lr.unwrap_or(defaults.auxiliary_lr))
            .with_input_covariance(!self.no_input_covariance)
    }
}
