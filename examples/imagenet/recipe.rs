//! The settings of the paper.

use burn::config::Config;
use mac_burn::MacConfig;

/// What the authors set for a family of networks; the command line may say otherwise.
///
/// From the commands in the README of their code (github.com/hseung88/mac): ResNets are trained by torchvision's
/// reference code, transformers by timm's.
#[derive(Config, Debug)]
pub(crate) struct Recipe {
    /// MAC's settings.
    pub(crate) mac: MacConfig,
    /// Height and width of training images.
    pub(crate) train_size: usize,
    /// Height and width of validation images.
    pub(crate) valid_size: usize,
    /// The share of the shorter side that is seen in validation.
    pub(crate) valid_share: f64,
    /// Mixup's α.
    pub(crate) mixup: f64,
    /// Cutmix's α.
    #[config(default = 1.0)]
    pub(crate) cutmix: f64,
    /// The share of the targets that is spread over all classes.
    #[config(default = 0.1)]
    pub(crate) label_smoothing: f64,
    /// Whether an average of the parameters is kept.
    pub(crate) average: bool,
}

/// What an average takes of the network, summed over the steps of a run: torchvision moves its average every 32 steps by
/// `2e-5 · 32 · batch size / epochs`, a 32nd of which is this, divided by the number of steps, for the images of ImageNet.
const MOVED: f64 = 2e-5 * 1_281_167.0;

/// The decay of an average in each step that torchvision's reference code has on ImageNet, whatever batch size and epochs:
/// the average looks back on a 26th of the run. By the number of steps it does so on data sets of other sizes too, and in
/// short runs, the shortest of which have a copy of the network.
pub(crate) fn ema_decay(steps: usize) -> f64 {
    1.0 - (MOVED / steps as f64).min(1.0)
}

impl Recipe {
    /// For ResNets: crops of 176, validation on 224 of 232, and an average.
    pub(crate) fn resnet() -> Self {
        let norms = ["**.gamma", "**.beta"].map(String::from);
        let mac = MacConfig::resnet_imagenet().with_no_decay(norms.into());
        Self::new(mac, 176, 224, 224.0 / 232.0, 0.2, true)
    }

    /// For DeiT and Swin: crops of 224, validation on 90 % of the shorter side as timm does for these, and no average.
    pub(crate) fn transformer() -> Self {
        Self::new(MacConfig::vit_imagenet(), 224, 224, 0.9, 0.8, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when the average of a step moves as far as torchvision's of 32, or not by the length of the run.
    #[test]
    fn the_average_moves_as_torchvisions() {
        const IMAGES: usize = 1_281_167;
        // The last batch of an epoch is smaller: 313 steps of 4096 for 312.8.
        const PARTIAL_BATCH: f64 = 2e-3;
        for (batch_size, epochs) in [(1024, 100), (1024, 200), (256, 90), (4096, 600)] {
            let theirs = 2e-5 * 32.0 * batch_size as f64 / epochs as f64;
            let ours = 32.0 * (1.0 - ema_decay(epochs * IMAGES.div_ceil(batch_size)));
            assert!(
                (ours / theirs - 1.0).abs() < PARTIAL_BATCH,
                "{ours} {theirs}"
            );
        }
        assert_eq!(ema_decay(10), 0.0);
    }
}
