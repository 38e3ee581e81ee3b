//! The networks.

use clap::ValueEnum;
use mac_burn_examples::networks::NetworkConfig;
use mac_burn_models::{ResNetConfig, SwinConfig, VisionTransformerConfig};

use crate::recipe::Recipe;

/// A network, as named on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelChoice {
    /// ResNet-18, with 11.7 million parameters
    Resnet18,
    /// ResNet-50, with 25.6 million parameters
    #[default]
    Resnet50,
    /// ResNet-101, with 44.5 million parameters
    Resnet101,
    /// DeiT-Ti, a vision transformer with 5.7 million parameters
    DeitTiny,
    /// DeiT-S, with 22.1 million parameters
    DeitSmall,
    /// Swin-T, with 28.3 million parameters
    SwinTiny,
}

impl ModelChoice {
    /// The settings of the paper for its family.
    pub(crate) fn recipe(self) -> Recipe {
        match self {
            Self::Resnet18 | Self::Resnet50 | Self::Resnet101 => Recipe::resnet(),
            Self::DeitTiny | Self::DeitSmall | Self::SwinTiny => Recipe::transformer(),
        }
    }

    /// The network for images of a size.
    ///
    /// # Errors
    /// If it does not take images of this size.
    pub(crate) fn network(self, size: usize, classes: usize) -> Result<NetworkConfig, String> {
        let multiple = match self {
            Self::DeitTiny | Self::DeitSmall => VisionTransformerConfig::deit_tiny().patch_size,
            Self::SwinTiny => SwinConfig::tiny().patch_size[0],
            Self::Resnet18 | Self::Resnet50 | Self::Resnet101 => 1,
        };
        if !size.is_multiple_of(multiple) {
            return Err(format!(
                "--image-size must be a multiple of {multiple}, the size of a patch, and {size} is not"
            ));
        }
        let resnet = |config: ResNetConfig| config.with_num_classes(classes).into();
        let deit = |config: VisionTransformerConfig| {
            let config = config.with_image_size([size; 2]);
            config.with_num_classes(classes).into()
        };
        Ok(match self {
            Self::Resnet18 => resnet(ResNetConfig::resnet18()),
            Self::Resnet50 => resnet(ResNetConfig::resnet50()),
            Self::Resnet101 => resnet(ResNetConfig::resnet101()),
            Self::DeitTiny => deit(VisionTransformerConfig::deit_tiny()),
            Self::DeitSmall => deit(VisionTransformerConfig::deit_small()),
            Self::SwinTiny => SwinConfig::tiny()
                .with_image_size([size; 2])
                .with_num_classes(classes)
                .into(),
        })
    }
}
