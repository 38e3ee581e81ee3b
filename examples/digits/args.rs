//! The command line of the example, and the optimizers as it configures them.

use std::ffi::OsString;
use std::ops::Bound::{Excluded, Included};

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, SgdConfig};
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use mac_burn::MacConfig;
use mac_burn_examples::interval::number_in;
use mac_burn_examples::optimizer_choice::OptimizerChoice;

/// In a run of 705 steps, the usual 50 would leave the means of the first steps in use for too long.
const TINV: usize = 5;

const MAC_HEADING: &str = "Options of MAC";

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

    /// Record activations in every n-th forward pass
    #[arg(long, default_value_t = MacConfig::new().tcov, value_parser = at_least_one())]
    tcov: usize,

    /// Take the recorded means into use in every n-th step
    #[arg(long, default_value_t = TINV, value_parser = at_least_one())]
    tinv: usize,

    /// Treat the first layer like the others, instead of by its covariance, measured before training
    #[arg(long)]
    pub(crate) no_input_covariance: bool,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

impl Args {
    /// Reads the command line; explains itself and ends the program when that is wrong, or asks for help.
    pub(crate) fn read() -> Self {
        Self::try_read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_read(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(line)?;
        let args = Self::from_arg_matches(&matches)?;

        match args.ignored_option(&command, &matches) {
            None => Ok(args),
            Some(option) => Err(command.error(
                ErrorKind::ArgumentConflict,
                format!(
                    "--{option} is an option of MAC, and the optimizer is {}",
                    args.optimizer
                ),
            )),
        }
    }

    /// An option that was given, and that the optimizer does not have.
    fn ignored_option(&self, command: &Command, matches: &ArgMatches) -> Option<String> {
        let given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        command
            .get_arguments()
            .filter(|option| option.get_help_heading() == Some(MAC_HEADING))
            .filter(|option| {
                self.optimizer != OptimizerChoice::Mac && given(option.get_id().as_str())
            })
            .find_map(|option| option.get_long().map(str::to_string))
    }

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

    /// AdamW as the command line describes it.
    pub(crate) fn adamw_config(&self) -> AdamWConfig {
        AdamWConfig::new()
            .with_beta_1(self.momentum as f32)
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

    #[test]
    fn an_option_that_would_be_ignored_is_refused() {
        let error = read("--optimizer sgd --damping 1").expect_err("SGD has no damping");

        assert!(
            error.contains("--damping is an option of MAC, and the optimizer is SGD"),
            "{error}"
        );
        assert!(
            read("--optimizer sgd").is_ok(),
            "defaults are not options given"
        );
    }
}
