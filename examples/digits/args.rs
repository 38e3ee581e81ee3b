//! The command line of the example, and the optimizers as it configures them.

use std::ops::Bound::{Excluded, Included};

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, SgdConfig};
use clap::Parser;
use mac_burn::MacConfig;
use mac_burn_examples::command_line::{ChoosesOptimizer, MAC_HEADING};
use mac_burn_examples::interval::{at_least_one, number_in};
use mac_burn_examples::optimizer_choice::OptimizerChoice;

/// In a run of 705 steps, the usual 50 would leave the means of the first steps in use for too long.
const TINV: usize = 5;

/// Trains a LeNet on handwritten digits of 8×8 pixels.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// What makes steps of gradients
    #[arg(long, value_enum, default_value_t)]
    pub(crate) optimizer: OptimizerChoice,

    /// Passes over the training set
    #[arg(long, default_value_t = 15, value_parser = at_least_one())]
    pub(crate) epochs: usize,

    /// Images in a batch
    #[arg(long, default_value_t = 32, value_parser = at_least_one())]
    pub(crate) batch_size: usize,

    /// Learning rate at the start, in (0, 1]; falls to zero along a cosine
    /// [default: 0.05 for mac and sgd, 0.003 for adamw]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in((Excluded(0.0), Included(1.0))))]
    lr: Option<f64>,

    /// Momentum, in [0, 1); the first of AdamW's two
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.9, value_parser = number_in(0.0..1.0))]
    momentum: f64,

    /// Weight decay, 0 or more
    #[arg(long, allow_hyphen_values = true, default_value_t = 5e-3, value_parser = number_in(0.0..f64::INFINITY))]
    weight_decay: f64,

    /// Seed of the initial parameters and of the order of the images
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// What only MAC has.
    #[command(flatten, next_help_heading = MAC_HEADING)]
    pub(crate) mac: MacArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct MacArgs {
    /// Damping, in (0, inf]; at inf, and with --no-input-covariance, MAC is SGD
    #[arg(long, allow_hyphen_values = true, default_value_t = MacConfig::new().damping,
          value_parser = number_in((Excluded(0.0), Included(f64::INFINITY))))]
    damping: f64,

    /// Decay of the moving average of the mean activations, in [0, 1)
    #[arg(long, allow_hyphen_values = true, default_value_t = MacConfig::new().stat_decay,
          value_parser = number_in(0.0..1.0))]
    stat_decay: f64,

    /// Record activations in every n-th step
    #[arg(long, default_value_t = MacConfig::new().tcov, value_parser = at_least_one())]
    tcov: usize,

    /// Take the recorded means into use in every n-th step
    #[arg(long, default_value_t = TINV, value_parser = at_least_one())]
    tinv: usize,

    /// Treat the first layer like the others, instead of by its covariance, measured before training
    #[arg(long)]
    pub(crate) no_input_covariance: bool,
}

impl ChoosesOptimizer for Args {
    fn optimizer(&self) -> OptimizerChoice {
        self.optimizer
    }
}

impl Args {
    /// The learning rate at the start.
    pub(crate) fn lr(&self) -> f64 {
        self.lr.unwrap_or(match self.optimizer {
            OptimizerChoice::Mac => 0.05,
            OptimizerChoice::Sgd => 0.05,
            OptimizerChoice::Adamw => 0.003,
        })
    }

    /// MAC as the command line describes it.
    pub(crate) fn mac_config(&self) -> MacConfig {
        MacConfig::new()
            .with_momentum(self.momentum)
            .with_weight_decay(self.weight_decay)
            .with_damping(self.mac.damping)
            .with_stat_decay(self.mac.stat_decay)
            .with_tcov(self.mac.tcov)
            .with_tinv(self.mac.tinv)
    }

    /// SGD as the command line describes it; without dampening, as in MAC.
    pub(crate) fn sgd_config(&self) -> SgdConfig {
        let momentum = MomentumConfig::new()
            .with_momentum(self.momentum)
            .with_dampening(0.0);
        SgdConfig::new()
            .with_momentum(Some(momentum))
            .with_weight_decay(Some(WeightDecayConfig::new(self.weight_decay as f32)))
    }

    /// AdamW as the command line describes it; with PyTorch's ε, a thousandth of Burn's own default.
    pub(crate) fn adamw_config(&self) -> AdamWConfig {
        AdamWConfig::new()
            .with_beta_1(self.momentum as f32)
            .with_epsilon(1e-8)
            .with_weight_decay(self.weight_decay as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &str) -> Result<Args, String> {
        Args::try_read(["digits"].into_iter().chain(options.split_whitespace()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_reach_the_optimizers() {
        let args = read(
            "--momentum 0.8 --weight-decay 0.1 --damping inf --stat-decay 0.5 --tcov 2 --tinv 3",
        )
        .expect("each value is in its range");
        let mac = args.mac_config();

        assert_eq!((mac.momentum, mac.weight_decay), (0.8, 0.1));
        assert_eq!((mac.damping, mac.stat_decay), (f64::INFINITY, 0.5));
        assert_eq!((mac.tcov, mac.tinv), (2, 3));
    }

    #[test]
    fn a_value_out_of_range_is_answered_with_the_range() {
        for (options, answer) in [
            ("--lr 0", "must be a number in (0, 1]"),
            ("--lr -1", "must be a number in (0, 1]"),
            ("--damping 0", "must be a number in (0, inf]"),
            ("--momentum 1", "must be a number in [0, 1)"),
            ("--stat-decay NaN", "must be a number in [0, 1)"),
            ("--weight-decay -1e-4", "must be a number in [0, inf)"),
            ("--tinv 0", "0 is not in 1.."),
            ("--optimizer adam", "[possible values: mac, sgd, adamw]"),
        ] {
            let error = read(options).expect_err(options);
            assert!(error.contains(answer), "{options}: {error}");
        }
    }
}
