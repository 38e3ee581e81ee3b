//! The command line of the example.

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::images::ImageShape;
use mac_burn_examples::interval::at_least_one;
use mac_burn_examples::optimizers::{
    LearningRates, OptimizerArgs, OptimizerChoice, OptimizerDefaults,
};
use mac_burn_examples::training::{Course, RunArgs};
use mac_burn_models::VisionTransformerConfig;
use serde::Serialize;

/// Trains a small vision transformer.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Data set
    #[arg(long, value_enum, default_value_t)]
    pub(crate) data: DataChoice,

    /// A folder with images in train/CLASS and val/CLASS, in place of a data set
    #[arg(long, value_name = "ROOT", conflicts_with = "data")]
    pub(crate) folder: Option<PathBuf>,

    /// Height and width to which the images of a folder are resized
    #[arg(long, default_value_t = 32, value_parser = at_least_one(), requires = "folder")]
    pub(crate) image_size: usize,

    /// Height and width of a patch; it must divide the image size [default: 2 for digits, 4 otherwise]
    #[arg(long, value_parser = at_least_one())]
    patch: Option<usize>,

    /// Embedding dimension
    #[arg(long, default_value_t = 48, value_parser = at_least_one())]
    d_model: usize,

    /// Number of attention heads; it must divide --d-model
    #[arg(long, default_value_t = 4, value_parser = at_least_one())]
    heads: usize,

    /// Number of transformer blocks
    #[arg(long, default_value_t = 4, value_parser = at_least_one())]
    layers: usize,

    /// The optimizer.
    #[command(flatten)]
    pub(crate) optimizer: OptimizerArgs,

    /// The course of the run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Where the command line gives none; `--example race` compares others.
const RATES: LearningRates = LearningRates {
    mac: 3e-2,
    sgd: 0.3,
    adamw: 3e-3,
};

fn course() -> Course {
    Course {
        steps: 600,
        batch_size: 32,
        every: 100,
        artifacts: "target/vit".into(),
    }
}

/// A data set, as named on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum DataChoice {
    /// 1797 digits of 8×8 pixels: compiled in
    #[default]
    Digits,
    /// MNIST, 28×28 pixels: downloaded when it is first used
    Mnist,
}

/// The settings that a run that continues must have in common with this one, besides the optimizer: the numbers of images are those on both sides
/// of the split, which the order of the images depends on.
#[derive(Serialize)]
pub(crate) struct RunConfig {
    data: DataChoice,
    folder: Option<PathBuf>,
    /// The fingerprint of a folder's files; 0 for a data set.
    files: u64,
    train_images: usize,
    valid_images: usize,
    network: VisionTransformerConfig,
}

impl ChoosesOptimizer for Args {
    fn optimizer(&self) -> OptimizerChoice {
        self.optimizer.choice(&self.optimizer_defaults())
    }

    fn defaults() -> Vec<(&'static str, String)> {
        let optimizer = OptimizerDefaults::transformer(RATES).in_words();
        [course().in_words(), optimizer].concat()
    }
}

impl Args {
    pub(crate) fn optimizer_defaults(&self) -> OptimizerDefaults {
        OptimizerDefaults::transformer(RATES)
    }

    pub(crate) fn course(&self) -> Course {
        self.run.course(course())
    }

    /// The network for images of a kind.
    pub(crate) fn network(
        &self,
        shape: ImageShape,
    ) -> Result<VisionTransformerConfig, Box<dyn Error>> {
        let (patch, size) = (self.patch(), shape.size);
        if !size.is_multiple_of(patch) {
            return Err(format!(
                "--patch must divide the size of an image, and {patch} does not divide {size}"
            )
            .into());
        }
        let (d_model, heads) = (self.d_model, self.heads);
        if !d_model.is_multiple_of(heads) {
            return Err(format!(
                "--heads must divide --d-model, and {heads} does not divide {d_model}"
            )
            .into());
        }
        Ok(VisionTransformerConfig::new(d_model, heads)
            .with_image_size([size, size])
            .with_image_channels(shape.channels)
            .with_patch_size(patch)
            .with_num_classes(shape.classes)
            .with_n_layers(self.layers))
    }

    fn patch(&self) -> usize {
        let digits = self.folder.is_none() && self.data == DataChoice::Digits;
        self.patch.unwrap_or(if digits { 2 } else { 4 })
    }

    /// The configuration of a run on as many images.
    pub(crate) fn config(
        &self,
        network: VisionTransformerConfig,
        files: u64,
        [train_images, valid_images]: [usize; 2],
    ) -> RunConfig {
        RunConfig {
            data: self.data,
            folder: self.folder.clone(),
            files,
            train_images,
            valid_images,
            network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mac_burn_examples::images::digits;

    fn error(options: &str) -> String {
        let line = ["vit"].into_iter().chain(options.split_whitespace());
        match Args::try_parse_from(line) {
            Err(error) => error.to_string(),
            Ok(args) => args.network(digits::SHAPE).expect_err(options).to_string(),
        }
    }

    #[test]
    fn a_wrong_option_is_answered_with_what_is_allowed() {
        for (options, answer) in [
            ("--patch 3", "3 does not divide 8"),
            ("--heads 5", "5 does not divide 48"),
            ("--data cifar", "[possible values: digits, mnist]"),
            ("--damping 0", "must be a number in (0, inf]"),
            ("--auxiliary-lr -1", "must be a number in (0, 1]"),
            ("--steps 0", "0 is not in 1.."),
            ("--image-size 8", "--folder"),
        ] {
            let error = error(options);
            assert!(error.contains(answer), "{options}: {error}");
        }
    }

    /// Breaks when a run goes on with a folder that has changed: its steps would see other images.
    #[test]
    fn a_run_continues_with_the_same_images_only() {
        let args = Args::try_parse_from(["vit"]).expect("nothing is required");
        let config = |files, sides| {
            let network = args.network(digits::SHAPE);
            let config = args.config(network.expect("8 is a multiple of 2"), files, sides);
            serde_json::to_string(&config).expect("it can be written")
        };
        let config_of_six = config(0, [6, 4]);
        assert_ne!(config(0, [7, 4]), config_of_six);
        assert_ne!(config(0, [6, 5]), config_of_six);
        assert_ne!(config(1, [6, 4]), config_of_six);
    }
}
