//! Networks for images of any family as one type, so that a training is compiled once for each optimizer and not for each
//! network too.

use burn::config::Config;
use burn::module::{DisplaySettings, Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::InputCovariance;
use mac_burn_models::{
    DenseNet, DenseNetConfig, LeNet, LeNetConfig, Mlp, MlpConfig, ResNet, ResNetConfig, Swin,
    SwinConfig, VisionTransformer, VisionTransformerConfig, WideResNet, WideResNetConfig,
};

use crate::images::ImageShape;

/// Configuration of a [`Network`].
#[derive(Config, Debug)]
pub enum NetworkConfig {
    /// A ResNet.
    ResNet(ResNetConfig),
    /// A DenseNet.
    DenseNet(DenseNetConfig),
    /// A Wide ResNet.
    WideResNet(WideResNetConfig),
    /// A vision transformer.
    VisionTransformer(VisionTransformerConfig),
    /// A Swin Transformer.
    Swin(SwinConfig),
    /// A LeNet.
    LeNet(LeNetConfig),
    /// An MLP, which sees the values of an image as one row.
    Mlp(MlpConfig),
}

/// A network of any family.
#[derive(Module, Debug)]
#[module(custom_display)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it, and Burn has no modules in boxes"
)]
pub enum Network<B: Backend> {
    /// A ResNet.
    ResNet(ResNet<B>),
    /// A DenseNet.
    DenseNet(DenseNet<B>),
    /// A Wide ResNet.
    WideResNet(WideResNet<B>),
    /// A vision transformer.
    VisionTransformer(VisionTransformer<B>),
    /// A Swin Transformer.
    Swin(Swin<B>),
    /// A LeNet.
    LeNet(LeNet<B>),
    /// An MLP, which sees the values of an image as one row.
    Mlp(Mlp<B>),
}

impl NetworkConfig {
    /// Initializes a new [`Network`].
    pub fn init<B: Backend>(&self, device: &B::Device) -> Network<B> {
        match self {
            Self::ResNet(config) => Network::ResNet(config.init(device)),
            Self::DenseNet(config) => Network::DenseNet(config.init(device)),
            Self::WideResNet(config) => Network::WideResNet(config.init(device)),
            Self::VisionTransformer(config) => Network::VisionTransformer(config.init(device)),
            Self::Swin(config) => Network::Swin(config.init(device)),
            Self::LeNet(config) => Network::LeNet(config.init(device)),
            Self::Mlp(config) => Network::Mlp(config.init(device)),
        }
    }

    /// For images of another size and number of channels.
    pub fn for_images(self, shape: ImageShape) -> Self {
        let ImageShape { size, channels, .. } = shape;
        match self {
            Self::ResNet(config) => config.with_image_channels(channels).into(),
            Self::DenseNet(config) => config.with_image_channels(channels).into(),
            Self::WideResNet(config) => config.with_image_channels(channels).into(),
            Self::VisionTransformer(config) => config
                .with_image_channels(channels)
                .with_image_size([size; 2])
                .into(),
            Self::Swin(config) => config
                .with_image_channels(channels)
                .with_image_size([size; 2])
                .into(),
            // Without padding nothing would be left of images much smaller than those of CIFAR.
            Self::LeNet(config) => config
                .with_image_channels(channels)
                .with_image_size([size; 2])
                .with_padded(size < 32)
                .into(),
            Self::Mlp(mut config) => {
                if let Some(input) = config.sizes.first_mut() {
                    *input = channels * size * size;
                }
                config.into()
            }
        }
    }
}

/// A line: the layers of some of these are hundreds.
impl<B: Backend> ModuleDisplay for Network<B> {
    fn format(&self, _settings: DisplaySettings) -> String {
        let family = match self {
            Self::ResNet(_) => "ResNet",
            Self::DenseNet(_) => "DenseNet",
            Self::WideResNet(_) => "WideResNet",
            Self::VisionTransformer(_) => "VisionTransformer",
            Self::Swin(_) => "Swin",
            Self::LeNet(_) => "LeNet",
            Self::Mlp(_) => "Mlp",
        };
        format!("{family} {{params: {}}}", self.num_params())
    }
}

impl From<ResNetConfig> for NetworkConfig {
    fn from(config: ResNetConfig) -> Self {
        Self::ResNet(config)
    }
}

impl From<DenseNetConfig> for NetworkConfig {
    fn from(config: DenseNetConfig) -> Self {
        Self::DenseNet(config)
    }
}

impl From<WideResNetConfig> for NetworkConfig {
    fn from(config: WideResNetConfig) -> Self {
        Self::WideResNet(config)
    }
}

impl From<VisionTransformerConfig> for NetworkConfig {
    fn from(config: VisionTransformerConfig) -> Self {
        Self::VisionTransformer(config)
    }
}

impl From<SwinConfig> for NetworkConfig {
    fn from(config: SwinConfig) -> Self {
        Self::Swin(config)
    }
}

impl From<LeNetConfig> for NetworkConfig {
    fn from(config: LeNetConfig) -> Self {
        Self::LeNet(config)
    }
}

impl From<MlpConfig> for NetworkConfig {
    fn from(config: MlpConfig) -> Self {
        Self::Mlp(config)
    }
}

impl<B: Backend> Network<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - `images`: `[batch_size, channels, height, width]`
    /// - output: `[batch_size, classes]`
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        match self {
            Self::ResNet(network) => network.forward(images),
            Self::DenseNet(network) => network.forward(images),
            Self::WideResNet(network) => network.forward(images),
            Self::VisionTransformer(network) => network.forward(images),
            Self::Swin(network) => network.forward(images),
            Self::LeNet(network) => network.forward(images),
            Self::Mlp(network) => network.forward(images.flatten(1, 3)),
        }
    }

    /// Adds images to the covariance of the inputs of the layer that sees them.
    ///
    /// # Shapes
    /// - `images`: `[batch_size, channels, height, width]`
    pub fn measure(&self, images: Tensor<B, 4>, covariance: &mut InputCovariance<B>) {
        match self {
            Self::Mlp(_) => covariance.update::<2>(images.flatten(1, 3)),
            _ => covariance.update(images),
        }
    }

    /// The covariance of the inputs of the layer that sees the images, with none of them seen yet.
    pub fn input_covariance(&self) -> InputCovariance<B> {
        match self {
            Self::ResNet(network) => InputCovariance::of(network.first_layer()),
            Self::DenseNet(network) => InputCovariance::of(network.first_layer()),
            Self::WideResNet(network) => InputCovariance::of(network.first_layer()),
            Self::VisionTransformer(network) => InputCovariance::of(network.first_layer()),
            Self::Swin(network) => InputCovariance::of(network.first_layer()),
            Self::LeNet(network) => InputCovariance::of(network.first_layer()),
            Self::Mlp(network) => InputCovariance::of(network.first_layer()),
        }
    }
}
