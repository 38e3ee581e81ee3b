use burn::config::Config;
use burn::module::Initializer;
use burn::tensor::backend::Backend;

use super::bottleneck::EXPANSION;
use super::{BlockKind, ResNet, ShortcutKind, Stage};
use crate::convolution::{NORMAL_BY_FAN_OUT, Stem, StemKind, UNIFORM_BY_FAN_IN, linear};
use crate::limits::assert_at_least_one;

/// Configuration of a [`ResNet`].
///
/// The networks of the paper have constructors:
///
/// | | for | blocks | stem | shortcut |
/// |---|---|---|---|---|
/// | [`resnet18`](Self::resnet18), [`34`](Self::resnet34) | ImageNet | basic | large | projection |
/// | [`resnet50`](Self::resnet50), [`101`](Self::resnet101), [`152`](Self::resnet152) | ImageNet | bottleneck | large | projection |
/// | [`resnet20`](Self::resnet20), [`32`](Self::resnet32), [`44`](Self::resnet44), [`56`](Self::resnet56), [`110`](Self::resnet110) | CIFAR | basic, three stages from 16 channels | small | padding |
/// | [`resnet18_cifar`](Self::resnet18_cifar), [`34`](Self::resnet34_cifar) | ImageNet's for CIFAR | basic | small | projection |
/// | [`resnet50_cifar`](Self::resnet50_cifar), [`101`](Self::resnet101_cifar), [`152`](Self::resnet152_cifar) | ImageNet's for CIFAR | bottleneck | small | projection |
///
/// # Example
/// ```
/// use burn::tensor::Tensor;
/// use mac_burn_models::{ResNet, ResNetConfig};
/// # type B = burn::backend::Flex;
/// # let device = Default::default();
///
/// let resnet: ResNet<B> = ResNetConfig::resnet20(10).init(&device);
/// let logits = resnet.forward(Tensor::ones([2, 3, 32, 32], &device));
/// assert_eq!(logits.dims(), [2, 10]);
/// ```
#[derive(Config, Debug)]
pub struct ResNetConfig {
    /// The number of blocks of each stage. Each stage but the first halves the height and width of its input and has twice
    /// the channels.
    pub blocks: Vec<usize>,
    /// What the blocks are.
    pub block: BlockKind,
    /// What comes before the blocks.
    #[config(default = "StemKind::Large")]
    pub stem: StemKind,
    /// What shortcuts do where the shape changes.
    #[config(default = "ShortcutKind::Projection")]
    pub shortcut: ShortcutKind,
    /// Channels of the stem, and of the 3×3 convolutions of the first stage.
    #[config(default = 64)]
    pub channels: usize,
    /// The width of bottlenecks in units of a 64th: 128 makes ResNet-50 the WRN-50-2 of the paper on wide residual networks,
    /// with 68 883 240 parameters.
    #[config(default = "WIDTH")]
    pub width: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// What the convolutions start with; the default is normal with a variance of 2 / fan-out.
    #[config(default = "NORMAL_BY_FAN_OUT")]
    pub initializer: Initializer,
    /// What the weights of the head start with; the default is uniform in ±1/√fan-in, as its bias always is.
    #[config(default = "UNIFORM_BY_FAN_IN")]
    pub head_initializer: Initializer,
}

/// The unit of [`ResNetConfig::width`].
const WIDTH: usize = 64;

impl ResNetConfig {
    /// Initializes a new [`ResNet`].
    ///
    /// # Panics
    /// If there is no stage, a stage has no block, a number of channels or classes is 0, basic blocks have another `width` than
    /// their own, or bottlenecks have no channel within.
    pub fn init<B: Backend>(&self, device: &B::Device) -> ResNet<B> {
        self.check();
        let stages = 0..self.blocks.len();
        let last = self.blocks.len() - 1;
        let size = [self.channels_of_stage(last), self.num_classes];
        let channels = [self.image_channels, self.channels];
        ResNet {
            stem: Stem::new(self.stem, channels, &self.initializer, device),
            stages: stages
                .map(|stage| Stage::new(self, stage, device))
                .collect(),
            head: linear(size, &self.head_initializer, &UNIFORM_BY_FAN_IN, device).into(),
        }
    }

    fn check(&self) {
        assert!(
            !self.blocks.is_empty() && !self.blocks.contains(&0),
            "a ResNet has stages, and each has blocks: blocks is {:?}",
            self.blocks
        );
        assert_at_least_one("channels", self.channels);
        assert_at_least_one("image_channels", self.image_channels);
        assert_at_least_one("num_classes", self.num_classes);
        let basic = self.block == BlockKind::Basic;
        assert!(
            !basic || self.width == WIDTH,
            "basic blocks have no width: it is {}",
            self.width
        );
        assert!(
            basic || self.channels_within(self.channels_of_stage(0)) > 0,
            "bottlenecks have `channels · width / 64` channels within, 1 at least: channels and width are {} and {}",
            self.channels,
            self.width
        );
    }

    /// The channels that come out of the stage of this index, counted from 0.
    pub(super) fn channels_of_stage(&self, index: usize) -> usize {
        let channels = self.channels << index;
        match self.block {
            BlockKind::Basic => channels,
            BlockKind::Bottleneck => EXPANSION * channels,
        }
    }

    /// The channels within a bottleneck of as many channels.
    pub(super) fn channels_within(&self, channels: usize) -> usize {
        channels / EXPANSION * self.width / WIDTH
    }
}
