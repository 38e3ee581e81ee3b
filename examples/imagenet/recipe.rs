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
    /// The decay of the average of the parameters; 0 keeps none.
    pub(crate) ema_decay: f64,
}

impl Recipe {
    /// For ResNets: crops of 176, validation on 224 of 232. torchvision moves its average every 32 steps by
    /// `2e-5 · 32 · 1024 / epochs`, which is 2e-4 a step for 100 epochs.
    pub(crate) fn resnet() -> Self {
        let norms = ["**.gamma", "**.beta"].map(String::from);
        let mac = MacConfig::resnet_imagenet().with_no_decay(norms.into());
        Self::new(mac, 176, 224, 224.0 / 232.0, 0.2, 0.9998)
    }

    /// For DeiT and Swin: crops of 224, validation on 90 % of the shorter side as timm does for these, and no average.
    pub(crate) fn transformer() -> Self {
        Self::new(MacConfig::vit_imagenet(), 224, 224, 0.9, 0.8, 0.0)
    }
}
