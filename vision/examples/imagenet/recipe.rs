//! The settings of the paper.

use mac_burn::MacConfig;
use mac_burn_examples::optimizers::{LearningRates, OptimizerChoice, OptimizerDefaults};
use mac_burn_vision::augment::{AutomaticAugmentation, Interpolation, RandomErasing};
use serde::Serialize;

/// The authors' settings for a family of networks; the command line may say otherwise.
///
/// From the commands in the README of their code (github.com/hseung88/mac): ResNets are trained by torchvision's
/// reference code, transformers by timm's.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Recipe {
    /// MAC's settings.
    #[serde(skip)]
    pub(crate) mac: MacConfig,
    /// Height and width of training images.
    pub(crate) train_size: usize,
    /// Height and width of validation images.
    pub(crate) valid_size: usize,
    /// The share of the shorter side that is seen in validation.
    pub(crate) valid_share: f64,
    /// How training images are resized; none for bilinear or bicubic, drawn for each.
    pub(crate) train_interpolation: Option<Interpolation>,
    /// How validation images are resized.
    pub(crate) valid_interpolation: Interpolation,
    /// Changes of color and shape.
    pub(crate) automatic: Option<AutomaticAugmentation>,
    /// The erasing of a part of an image.
    pub(crate) erasing: RandomErasing,
    /// How often an image comes in a row.
    pub(crate) repeats: usize,
    /// Mixup's α.
    pub(crate) mixup: f64,
    /// Cutmix's α.
    pub(crate) cutmix: f64,
    /// The share of the targets that is spread over all classes.
    pub(crate) label_smoothing: f64,
    /// The share of the learning rate at which it begins to rise.
    pub(crate) warmup_start: f64,
    /// Whether an average of the parameters is kept.
    pub(crate) average: bool,
    /// Whether SGD, where it takes MAC's place, looks ahead along its momentum.
    pub(crate) sgd_nesterov: bool,
    /// Whether the learning rate's cosine begins with the first step, as in timm, and not after the rise, as in torchvision's
    /// reference code.
    pub(crate) whole_cosine: bool,
}

/// The epochs in which the learning rate rises.
pub(crate) const WARMUP_EPOCHS: usize = 5;

/// The weight that an average gives the network, summed over the steps of a run: torchvision moves its average every 32 steps by
/// `2e-5 · 32 · batch size / epochs`, a 32nd of which is this, divided by the number of steps, for the images of ImageNet.
const MOVED: f64 = 2e-5 * 1_281_167.0;

/// The decay of an average in each step that torchvision's reference code has on ImageNet, whatever batch size and epochs:
/// the average looks back on a 26th of the run. By the number of steps it does so on data sets of other sizes too, and in
/// short runs, the shortest of which have a copy of the network.
pub(crate) fn ema_decay(steps: usize) -> f64 {
    1.0 - (MOVED / steps as f64).min(1.0)
}

impl Recipe {
    /// For ResNets: crops of 176, validation on 224 of 232, and an average. The interpolation and the beginning of the warm-up are
    /// those of torchvision's reference code unless told otherwise.
    pub(crate) fn resnet() -> Self {
        let norms = ["**.gamma", "**.beta"].map(String::from);
        Self {
            mac: MacConfig::resnet_imagenet().with_no_decay(norms.into()),
            train_size: 176,
            valid_size: 224,
            valid_share: 224.0 / 232.0,
            train_interpolation: Some(Interpolation::Bilinear),
            valid_interpolation: Interpolation::Bilinear,
            automatic: Some(AutomaticAugmentation::TrivialAugmentWide),
            erasing: RandomErasing::torchvision(0.1),
            repeats: 4,
            mixup: 0.2,
            cutmix: 1.0,
            label_smoothing: 0.1,
            warmup_start: 0.01,
            average: true,
            sgd_nesterov: false,
            whole_cosine: false,
        }
    }

    /// For DeiT and Swin: crops of 224, validation on 90 % of the shorter side and bicubic as timm does for these, a warm-up from
    /// 0.05 to 0.5, no average, Nesterov's momentum for what timm calls SGD, and timm's cosine.
    pub(crate) fn transformer() -> Self {
        Self {
            mac: MacConfig::vit_imagenet(),
            train_size: 224,
            valid_size: 224,
            valid_share: 0.9,
            train_interpolation: None,
            valid_interpolation: Interpolation::Bicubic,
            automatic: Some(AutomaticAugmentation::RandAugment),
            erasing: RandomErasing::timm_pixel(0.25),
            repeats: 3,
            mixup: 0.8,
            cutmix: 1.0,
            label_smoothing: 0.1,
            warmup_start: 0.1,
            average: false,
            sgd_nesterov: true,
            whole_cosine: true,
        }
    }
}

impl Recipe {
    /// The options of the optimizer for epochs of as many steps.
    pub(crate) fn optimizer_defaults(&self, epoch: usize) -> OptimizerDefaults {
        OptimizerDefaults {
            optimizer: OptimizerChoice::MAC,
            lr: LearningRates {
                mac: 0.5,
                sgd: 0.5,
                adamw: 0.001,
            },
            warmup: WARMUP_EPOCHS * epoch,
            mac: self.mac.clone(),
            adamw_weight_decay: 0.05,
            sgd_nesterov: self.sgd_nesterov,
            auxiliary_lr: 1e-3,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use burn::optim::{GradientsParams, Optimizer};
    use burn::tensor::{Tensor, TensorData};
    use clap::ValueEnum;
    use mac_burn_examples::backend::Training;
    use mac_burn_examples::optimizers::{OptimizerPlan, WithOptimizer};
    use mac_burn_models::ResNetConfig;
    use mac_burn_models::resnet::{BlockKind, ResNet, ResidualBlock};

    use super::*;

    const LR: f64 = 0.5;

    /// A step in which only weight decay moves anything.
    struct Decay;

    impl WithOptimizer<Training, ResNet<Training>> for Decay {
        fn run<O>(
            self,
            resnet: ResNet<Training>,
            mut optimizer: O,
        ) -> Result<(ResNet<Training>, O), Box<dyn Error>>
        where
            O: Optimizer<ResNet<Training>, Training> + 'static,
        {
            let images = Tensor::ones([2, 3, 32, 32], &Default::default());
            let loss = resnet.forward(images).sum() * 0.0;
            let grads = GradientsParams::from_grads(loss.backward(), &resnet);
            Ok((optimizer.step(LR, resnet, grads), optimizer))
        }
    }

    /// The scales of a norm of the stem and of one of a block, then weight and bias of the head.
    fn values(resnet: &ResNet<Training>) -> [TensorData; 4] {
        let ResidualBlock::Basic(block) = &resnet.stages[1].blocks[0] else {
            panic!("the blocks are basic");
        };
        let stem = resnet.stem.norm.as_ref().expect("the stem has a norm");
        let bias = resnet.head.bias.as_ref().expect("the head has a bias");
        [
            stem.gamma.val().into_data(),
            block.conv2.norm.gamma.val().into_data(),
            resnet.head.weight.val().into_data(),
            bias.val().into_data(),
        ]
    }

    /// Breaks when the patterns do not name what the scales of norms are called here, when biases are exempt, as they are not
    /// in torchvision's code, or when an optimizer decays other parameters than MAC.
    #[test]
    fn of_resnets_only_the_norms_have_no_weight_decay() {
        let mac = Recipe::resnet().mac;
        for choice in OptimizerChoice::value_variants() {
            let config = ResNetConfig::new(vec![1, 1], BlockKind::Basic).with_num_classes(3);
            let resnet = config.init(&Default::default());
            let before = values(&resnet);

            let plan = OptimizerPlan::new(*choice, LR, mac.clone());
            let plan = plan
                .with_weight_decay(mac.weight_decay)
                .with_auxiliary_lr(LR);
            let (resnet, _) = plan
                .train(resnet, None, Decay)
                .expect("the settings are right");

            let after = values(&resnet);
            let moved = [0, 1, 2, 3].map(|index| before[index] != after[index]);
            assert_eq!(moved, [false, false, true, true], "{choice}");
        }
    }

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
