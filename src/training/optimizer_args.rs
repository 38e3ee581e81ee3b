use std::ops::Bound::{Excluded, Included};

use mac_burn::MacConfig;

use super::OptimizerPlan;
use crate::command_line::MAC_HEADING;
use crate::interval::{at_least_one, number_in};
use crate::optimizer_choice::OptimizerChoice;

/// The optimizer, as a command line describes it.
#[derive(clap::Args, Clone, Debug)]
pub struct OptimizerArgs {
    /// Optimizer
    #[arg(long, value_enum, default_value_t)]
    pub optimizer: OptimizerChoice,

    /// Learning rate after the warm-up, in (0, 10]; falls to zero along a cosine [default: mac 0.03 (char-gpt 1), sgd 0.3, adamw 0.003]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in((Excluded(0.0), Included(10.0))))]
    pub lr: Option<f64>,

    /// Steps in which the learning rate rises, half of all at most
    #[arg(long, default_value_t = 200)]
    pub warmup: usize,

    /// Momentum, in [0, 1); the first of AdamW's two
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.9, value_parser = number_in(0.0..1.0))]
    pub momentum: f64,

    /// Weight decay, 0 or more, of all but norms, biases, embeddings and class tokens
    /// [default: 1e-4 for mac and sgd, 0.05 for adamw]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in(0.0..f64::INFINITY))]
    pub weight_decay: Option<f64>,

    /// Damping of MAC, in (0, inf]
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.1, help_heading = MAC_HEADING,
          value_parser = number_in((Excluded(0.0), Included(f64::INFINITY))))]
    pub damping: f64,

    /// Decay of the moving average of the mean activations, in [0, 1)
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.8, help_heading = MAC_HEADING,
          value_parser = number_in(0.0..1.0))]
    pub stat_decay: f64,

    /// Record activations every n steps
    #[arg(long, default_value_t = 5, help_heading = MAC_HEADING, value_parser = at_least_one())]
    pub tcov: usize,

    /// Refresh the preconditioner every n steps
    #[arg(long, default_value_t = 5, help_heading = MAC_HEADING, value_parser = at_least_one())]
    pub tinv: usize,

    /// Learning rate of AdamW for the parameters that MAC does not cover, in [0, 1]; at 0 they take MAC's own step, as in
    /// the authors' code for images
    #[arg(long, allow_hyphen_values = true, default_value_t = 3e-2, help_heading = MAC_HEADING,
          value_parser = number_in(0.0..=1.0))]
    pub auxiliary_lr: f64,

    /// Precondition the first layer by its mean activation, not by the covariance of its inputs, which is measured before training
    #[arg(long, help_heading = MAC_HEADING)]
    pub no_input_covariance: bool,

    /// Leave the layers whose path matches, such as "blocks.*.attention.**", to AdamW as well, or to MAC's own step where
    /// --auxiliary-lr is 0; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = MAC_HEADING)]
    pub skip_layers: Vec<String>,
}

/// The learning rate of each optimizer, where the command line gives none.
#[derive(Clone, Copy, Debug)]
pub struct LearningRates {
    /// MAC's.
    pub mac: f64,
    /// SGD's.
    pub sgd: f64,
    /// AdamW's.
    pub adamw: f64,
}

impl OptimizerArgs {
    /// The learning rate after the warm-up.
    pub fn lr(&self, rates: LearningRates) -> f64 {
        self.lr.unwrap_or(match self.optimizer {
            OptimizerChoice::Mac => rates.mac,
            OptimizerChoice::Sgd => rates.sgd,
            OptimizerChoice::Adamw => rates.adamw,
        })
    }

    /// The options that a run which continues must have in common, a line for each.
    pub fn lines(&self) -> String {
        let Self {
            optimizer,
            lr: _,
            warmup,
            momentum,
            weight_decay: _,
            damping,
            stat_decay,
            tcov,
            tinv,
            auxiliary_lr,
            no_input_covariance,
            skip_layers,
        } = self;
        let weight_decay = self.weight_decay();
        let common = format!(
            "--optimizer {optimizer}\n--warmup {warmup}\n--momentum {momentum}\nweight decay {weight_decay}"
        );
        match optimizer {
            OptimizerChoice::Mac => format!(
                "{common}\n--damping {damping}\n--stat-decay {stat_decay}\n--tcov {tcov}\n--tinv {tinv}\n\
                 --auxiliary-lr {auxiliary_lr}\n--no-input-covariance {no_input_covariance}\n\
                 --skip-layers {skip_layers:?}"
            ),
            _ => common,
        }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay.unwrap_or(match self.optimizer {
            OptimizerChoice::Mac | OptimizerChoice::Sgd => 1e-4,
            OptimizerChoice::Adamw => 0.05,
        })
    }

    /// The optimizer with the learning rate `lr`.
    pub fn plan(&self, lr: f64) -> OptimizerPlan {
        OptimizerPlan::new(self.optimizer, lr, self.mac())
            .with_momentum(self.momentum)
            .with_weight_decay(self.weight_decay())
            .with_auxiliary_lr(self.auxiliary_lr)
            .with_input_covariance(!self.no_input_covariance)
    }

    /// Parameters that MAC does not cover have no weight decay with any optimizer, since the AdamW beside MAC has none.
    fn mac(&self) -> MacConfig {
        let mut no_decay = MacConfig::vit_imagenet().no_decay;
        no_decay.push("**.token_embedding".into());
        MacConfig::new()
            .with_momentum(self.momentum)
            .with_weight_decay(self.weight_decay())
            .with_no_decay_norms_and_biases(true)
            .with_no_decay(no_decay)
            .with_damping(self.damping)
            .with_stat_decay(self.stat_decay)
            .with_tcov(self.tcov)
            .with_tinv(self.tinv)
            .with_skip_layers(self.skip_layers.clone())
    }
}
