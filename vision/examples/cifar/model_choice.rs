//! The networks.

use clap::ValueEnum;
use mac_burn_examples::images::ImageShape;
use mac_burn_examples::networks::NetworkConfig;
use mac_burn_models::{
    DenseNetConfig, LeNetConfig, ResNetConfig, VisionTransformerConfig, WideResNetConfig,
};

/// A network, as named on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelChoice {
    /// ResNet-20, with 0.27 million parameters
    #[default]
    Resnet20,
    /// ResNet-32
    Resnet32,
    /// ResNet-44
    Resnet44,
    /// ResNet-56
    Resnet56,
    /// ResNet-110, with 1.7 million parameters
    Resnet110,
    /// ResNet-18 of ImageNet with a stem for small images
    Resnet18,
    /// ResNet-34 of ImageNet, the same
    Resnet34,
    /// ResNet-50 of ImageNet, the same
    Resnet50,
    /// DenseNet-121 with a stem for small images
    Densenet121,
    /// DenseNet-121 with a growth of 12, with 1 million parameters
    DensenetThin,
    /// Wide ResNet of 28 layers, 10 times as wide, with 36 million parameters
    #[value(name = "wrn28-10")]
    Wrn28x10,
    /// DeiT-Ti, a vision transformer, with patches of 4×4 pixels
    DeitTiny,
    /// LeNet-5 with rectifiers and max pooling
    Lenet5,
}

impl ModelChoice {
    /// The network for images of a kind.
    pub(crate) fn network(self, shape: ImageShape) -> NetworkConfig {
        let classes = shape.classes;
        let config: NetworkConfig = match self {
            Self::Resnet20 => ResNetConfig::resnet20(classes).into(),
            Self::Resnet32 => ResNetConfig::resnet32(classes).into(),
            Self::Resnet44 => ResNetConfig::resnet44(classes).into(),
            Self::Resnet56 => ResNetConfig::resnet56(classes).into(),
            Self::Resnet110 => ResNetConfig::resnet110(classes).into(),
            Self::Resnet18 => ResNetConfig::resnet18_cifar(classes).into(),
            Self::Resnet34 => ResNetConfig::resnet34_cifar(classes).into(),
            Self::Resnet50 => ResNetConfig::resnet50_cifar(classes).into(),
            Self::Densenet121 => DenseNetConfig::densenet121_cifar(classes).into(),
            Self::DensenetThin => DenseNetConfig::thin_cifar(classes).into(),
            Self::Wrn28x10 => WideResNetConfig::wrn_28_10(classes).into(),
            Self::DeitTiny => VisionTransformerConfig::deit_tiny_cifar(classes).into(),
            Self::Lenet5 => LeNetConfig::mac_lenet5().with_num_classes(classes).into(),
        };
        config.for_images(shape)
    }
}
