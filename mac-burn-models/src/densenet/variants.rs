//! The networks of the paper by their names, which count the layers.

use super::{Concatenation, DenseNetConfig};
use crate::convolution::{StemKind, UNIFORM_BY_FAN_IN};

/// For ImageNet: images of 224×224 in 1000 classes. Convolutions start normal with a variance of 2 / fan-in and the bias of the
/// head at 0, as torchvision's do.
impl DenseNetConfig {
    /// DenseNet-121, with 7 978 856 parameters.
    pub fn densenet121() -> Self {
        Self::new(32, vec![6, 12, 24, 16])
    }

    /// DenseNet-169, with 14 149 480 parameters.
    pub fn densenet169() -> Self {
        Self::new(32, vec![6, 12, 32, 32])
    }

    /// DenseNet-201, with 20 013 928 parameters.
    pub fn densenet201() -> Self {
        Self::new(32, vec![6, 12, 48, 32])
    }

    /// DenseNet-161, with 28 681 000 parameters.
    pub fn densenet161() -> Self {
        Self::new(48, vec![6, 12, 36, 24])
    }
}

/// ImageNet's networks for images of 32×32, as the authors of MAC have them: a 3×3 convolution is the stem, and a layer puts
/// its output before its input. The definition leaves the weights to PyTorch, uniform in ±1/√fan-in. It pools the last map by a
/// kernel of 4×4, for images of 32×32, of which larger ones would be cut; here the mean is over all positions, of images of any
/// size.
impl DenseNetConfig {
    /// DenseNet-121 for small images, with 6 956 298 parameters for 10 classes.
    pub fn densenet121_cifar(num_classes: usize) -> Self {
        Self::densenet121().for_small_images(num_classes)
    }

    /// DenseNet-169 for small images, with 12 493 322 parameters for 10 classes.
    pub fn densenet169_cifar(num_classes: usize) -> Self {
        Self::densenet169().for_small_images(num_classes)
    }

    /// DenseNet-201 for small images, with 18 104 330 parameters for 10 classes.
    pub fn densenet201_cifar(num_classes: usize) -> Self {
        Self::densenet201().for_small_images(num_classes)
    }

    /// DenseNet-161 for small images, with 26 482 378 parameters for 10 classes.
    pub fn densenet161_cifar(num_classes: usize) -> Self {
        Self::densenet161().for_small_images(num_classes)
    }

    /// DenseNet-121 with a growth of 12, for small images, with 1 000 618 parameters for 10 classes: what the authors call
    /// densenet_cifar.
    pub fn thin_cifar(num_classes: usize) -> Self {
        Self::new(12, vec![6, 12, 24, 16]).for_small_images(num_classes)
    }

    fn for_small_images(self, num_classes: usize) -> Self {
        self.with_stem(StemKind::Bare)
            .with_concatenation(Concatenation::NewFirst)
            .with_num_classes(num_classes)
            .with_initializer(UNIFORM_BY_FAN_IN)
            .with_head_bias_initializer(UNIFORM_BY_FAN_IN)
    }
}
