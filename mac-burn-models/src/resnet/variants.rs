//! The networks of the paper by their names, which count the layers.

use super::{BlockKind, ResNetConfig, ShortcutKind};
use crate::convolution::{NORMAL_BY_FAN_IN, StemKind, UNIFORM_BY_FAN_IN};

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
