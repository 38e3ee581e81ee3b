//! ResNet: stages of blocks, each of which adds to what comes in.
//!
//! K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", 2015,
//! [arXiv:1512.03385](https://arxiv.org/abs/1512.03385). A block computes `relu(F(x) + shortcut(x))`; the paper calls the
//! shortcuts A, zeros for the channels that `x` does not have, and B, a projection wherever the shape changes.
//!
//! In one respect all definitions in use today differ from the paper, and so do these: the stride of a bottleneck is at its
//! 3×3 convolution. The stems are those of [`StemKind`].

mod blocks;
mod names;

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

pub use blocks::{BasicBlock, BlockKind, Bottleneck, ResidualBlock, Shortcut, ShortcutKind, Stage};
pub use names::{authors_name, timm_name};

use crate::convolution::{
    NORMAL_BY_FAN_IN, NORMAL_BY_FAN_OUT, Stem, StemKind, UNIFORM_BY_FAN_IN, linear,
    mean_over_positions,
};
use crate::limits::assert_at_least_one;

#[cfg(test)]
mod tests;

/// How many channels come out of a bottleneck for each of its 3×3 convolution, at a width of 64.
const EXPANSION: usize = 4;

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
    /// The kind of the blocks.
    pub block: BlockKind,
    /// The part before the blocks.
    #[config(default = "StemKind::Large")]
    pub stem: StemKind,
    /// The shortcuts of blocks that change the shape.
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
    /// Initializer of the convolutions; the default is normal with a variance of 2 / fan-out.
    #[config(default = "NORMAL_BY_FAN_OUT")]
    pub initializer: Initializer,
    /// Initializer of the head's weights; the default is uniform in ±1/√fan-in, as its bias always is.
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
    fn channels_of_stage(&self, index: usize) -> usize {
        let channels = self.channels << index;
        match self.block {
            BlockKind::Basic => channels,
            BlockKind::Bottleneck => EXPANSION * channels,
        }
    }

    /// The channels within a bottleneck of as many channels.
    fn channels_within(&self, channels: usize) -> usize {
        channels / EXPANSION * self.width / WIDTH
    }
}

/// Blocks of the stages of ResNet-18.
const BLOCKS_18: [usize; 4] = [2, 2, 2, 2];
/// Of ResNet-34 and ResNet-50.
const BLOCKS_50: [usize; 4] = [3, 4, 6, 3];
/// Of ResNet-101.
const BLOCKS_101: [usize; 4] = [3, 4, 23, 3];
/// Of ResNet-152.
const BLOCKS_152: [usize; 4] = [3, 8, 36, 3];

/// For ImageNet: images of 224×224 in 1000 classes. These start as torchvision's do.
impl ResNetConfig {
    /// ResNet-18, with 11 689 512 parameters.
    pub fn resnet18() -> Self {
        Self::new(BLOCKS_18.to_vec(), BlockKind::Basic)
    }

    /// ResNet-34, with 21 797 672 parameters.
    pub fn resnet34() -> Self {
        Self::new(BLOCKS_50.to_vec(), BlockKind::Basic)
    }

    /// ResNet-50, with 25 557 032 parameters.
    pub fn resnet50() -> Self {
        Self::new(BLOCKS_50.to_vec(), BlockKind::Bottleneck)
    }

    /// ResNet-101, with 44 549 160 parameters.
    pub fn resnet101() -> Self {
        Self::new(BLOCKS_101.to_vec(), BlockKind::Bottleneck)
    }

    /// ResNet-152, with 60 192 808 parameters.
    pub fn resnet152() -> Self {
        Self::new(BLOCKS_152.to_vec(), BlockKind::Bottleneck)
    }
}

/// For CIFAR: images of 32×32, and the paper's networks for them (section 4.2), of `6 n + 2` layers in three stages of 16, 32
/// and 64 channels, with shortcuts that have no parameters. Convolutions and head start normal with a variance of 2 / fan-in.
impl ResNetConfig {
    /// ResNet-20, with 269 722 parameters for 10 classes.
    pub fn resnet20(num_classes: usize) -> Self {
        Self::thin(3, num_classes)
    }

    /// ResNet-32, with 464 154 parameters for 10 classes.
    pub fn resnet32(num_classes: usize) -> Self {
        Self::thin(5, num_classes)
    }

    /// ResNet-44, with 658 586 parameters for 10 classes.
    pub fn resnet44(num_classes: usize) -> Self {
        Self::thin(7, num_classes)
    }

    /// ResNet-56, with 853 018 parameters for 10 classes.
    pub fn resnet56(num_classes: usize) -> Self {
        Self::thin(9, num_classes)
    }

    /// ResNet-110, with 1 727 962 parameters for 10 classes.
    pub fn resnet110(num_classes: usize) -> Self {
        Self::thin(18, num_classes)
    }

    fn thin(blocks: usize, num_classes: usize) -> Self {
        Self::new(vec![blocks; 3], BlockKind::Basic)
            .with_stem(StemKind::Small)
            .with_shortcut(ShortcutKind::Padding)
            .with_channels(16)
            .with_num_classes(num_classes)
            .with_initializer(NORMAL_BY_FAN_IN)
            .with_head_initializer(NORMAL_BY_FAN_IN)
    }
}

/// ImageNet's networks for images of 32×32: a 3×3 convolution is the stem, so that the last stage sees 4×4 and not 1×1. Not in
/// the paper, but in common use; the definition in use leaves the weights to PyTorch, uniform in ±1/√fan-in. It pools the last
/// map by a kernel of 4×4, for images of 32×32, of which larger ones would be cut; here the mean is over all positions, of images
/// of any size.
impl ResNetConfig {
    /// ResNet-18 for small images, with 11 173 962 parameters for 10 classes.
    pub fn resnet18_cifar(num_classes: usize) -> Self {
        Self::resnet18().for_small_images(num_classes)
    }

    /// ResNet-34 for small images, with 21 282 122 parameters for 10 classes.
    pub fn resnet34_cifar(num_classes: usize) -> Self {
        Self::resnet34().for_small_images(num_classes)
    }

    /// ResNet-50 for small images, with 23 520 842 parameters for 10 classes.
    pub fn resnet50_cifar(num_classes: usize) -> Self {
        Self::resnet50().for_small_images(num_classes)
    }

    /// ResNet-101 for small images, with 42 512 970 parameters for 10 classes.
    pub fn resnet101_cifar(num_classes: usize) -> Self {
        Self::resnet101().for_small_images(num_classes)
    }

    /// ResNet-152 for small images, with 58 156 618 parameters for 10 classes.
    pub fn resnet152_cifar(num_classes: usize) -> Self {
        Self::resnet152().for_small_images(num_classes)
    }

    fn for_small_images(self, num_classes: usize) -> Self {
        self.with_stem(StemKind::Small)
            .with_num_classes(num_classes)
            .with_initializer(UNIFORM_BY_FAN_IN)
    }
}

/// The residual network: a stem, stages of blocks, the mean over all positions, and a linear layer.
///
/// Convolutions and head are recorded. The norms are Burn's, see [`convolution`](crate::convolution) for their one difference
/// from PyTorch's.
///
/// Should be created with [`ResNetConfig`].
#[derive(Module, Debug)]
pub struct ResNet<B: Backend> {
    /// The part before the blocks.
    pub stem: Stem<B>,
    /// The stages, from the input to the output.
    pub stages: Vec<Stage<B>>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl<B: Backend> ResNet<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`, of any height and width
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.stem.forward(images);
        let x = self.stages.iter().fold(x, |x, stage| stage.forward(x));
        self.head.forward(mean_over_positions(x))
    }

    /// The layer that sees the images, for an [`InputCovariance`](mac_burn::InputCovariance).
    pub fn first_layer(&self) -> &MacConv2d<B> {
        &self.stem.conv
    }
}
