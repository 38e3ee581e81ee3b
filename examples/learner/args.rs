//! The command line of the example.

use std::ops::Bound::{Excluded, Included};
use std::path::PathBuf;

use burn::config::Config;
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use mac_burn::MacConfig;
use mac_burn_examples::digits;
use mac_burn_examples::interval::{at_least_one, number_in};
use mac_burn_examples::learner::Course;
use mac_burn_examples::mnist;
use mac_burn_models::LeNetConfig;

/// Trains a LeNet with MAC in burn-train's Learner.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// What to train on
    #[arg(long, value_enum, default_value_t)]
    pub(crate) data: DataChoice,

    /// Passes over the training set
    #[arg(long, default_value_t = 10, value_parser = at_least_one())]
    epochs: usize,

    /// Images in a batch
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    batch_size: usize,

    /// Learning rate at the start, in (0, 1]; falls to zero along a cosine
    /// [default: 0.1 for mnist, 0.05 for digits]
    #[arg(long, allow_hyphen_values = true, value_parser = number_in((Excluded(0.0), Included(1.0))))]
    lr: Option<f64>,

    /// Damping, in (0, inf]; at inf MAC is SGD
    #[arg(long, allow_hyphen_values = true, default_value_t = MacConfig::new().damping,
          value_parser = number_in((Excluded(0.0), Included(f64::INFINITY))))]
    damping: f64,

    /// Weight decay, 0 or more
    #[arg(long, allow_hyphen_values = true, default_value_t = 5e-4, value_parser = number_in(0.0..f64::INFINITY))]
    weight_decay: f64,

    /// Seed of the initial parameters and of the order of the images
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Threads that make batches in the background, 0 or 1: with more, no run could be repeated
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(..=1))]
    pub(crate) workers: usize,

    /// Directory for checkpoints, metrics and the log
    #[arg(long, default_value = "target/learner")]
    pub(crate) artifacts: PathBuf,

    /// Continue the run in the directory of artifacts after this epoch
    #[arg(long, value_name = "EPOCH", value_parser = at_least_one())]
    pub(crate) resume: Option<usize>,
}

/// Everything that decides the parameters at the end of a run, but for the images.
#[derive(Config, Debug)]
pub(crate) struct RunConfig {
    pub(crate) network: LeNetConfig,
    pub(crate) mac: MacConfig,
    pub(crate) course: Course,
}

/// A data set, as named on the command line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum DataChoice {
    /// MNIST, 28×28 pixels: downloaded when it is first used
    #[default]
    Mnist,
    /// 1797 digits of 8×8 pixels: compiled in
    Digits,
}

impl Args {
    /// Reads the command line; explains itself and ends the program when that is wrong, or asks for help.
    pub(crate) fn read() -> Self {
        Self::parse()
    }

    /// What the options say of the course of the run.
    pub(crate) fn config(&self) -> RunConfig {
        let (size, lr) = match self.data {
            DataChoice::Mnist => (mnist::SIZE, 0.1),
            DataChoice::Digits => (digits::SIZE, 0.05),
        };
        RunConfig {
            network: LeNetConfig::new([size, size]),
            mac: MacConfig::new()
                .with_damping(self.damping)
                .with_weight_decay(self.weight_decay),
            course: Course::new()
                .with_lr(self.lr.unwrap_or(lr))
                .with_epochs(self.epochs)
                .with_batch_size(self.batch_size)
                .with_seed(self.seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &str) -> Result<Args, String> {
        Args::try_parse_from(["learner"].into_iter().chain(options.split_whitespace()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_reach_the_configuration() {
        let args = read(
            "--data digits --epochs 3 --batch-size 16 --lr 0.5 --damping inf --weight-decay 0 --seed 7",
        )
        .expect("each value is in its range");
        let config = args.config();

        assert_eq!(config.network.image_size, [8, 8]);
        let course = &config.course;
        assert_eq!((course.epochs, course.batch_size, course.seed), (3, 16, 7));
        assert_eq!((course.lr, config.mac.damping), (0.5, f64::INFINITY));
        assert_eq!(config.mac.weight_decay, 0.0);
    }

    #[test]
    fn a_value_out_of_range_is_answered_with_the_range() {
        for (options, answer) in [
            ("--data cifar", "[possible values: mnist, digits]"),
            ("--lr 1.5", "must be a number in (0, 1]"),
            ("--damping 0", "must be a number in (0, inf]"),
            ("--weight-decay -1e-4", "must be a number in [0, inf)"),
            ("--workers 2", "2 is not in 0..=1"),
            ("--epochs 0", "0 is not in 1.."),
            ("--resume 0", "0 is not in 1.."),
        ] {
            let error = read(options).expect_err(options);
            assert!(error.contains(answer), "{options}: {error}");
        }
    }
}
