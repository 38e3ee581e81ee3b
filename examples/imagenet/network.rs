//! One type for all networks, so that the training is compiled once for each optimizer and not for each network too.

use burn::config::Config;
use burn::module::{DisplaySettings, Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::InputCovariance;
use mac_burn_examples::image_network::ImageNetwork;
use mac_burn_models::{Deit, DeitConfig, ResNet, ResNetConfig, Swin, SwinConfig};

/// Configuration of a [`Network`].
#[derive(Config, Debug)]
pub(crate) enum NetworkConfig {
    ResNet(ResNetConfig),
    Deit(DeitConfig),
    Swin(SwinConfig),
}

/// A network of any family.
#[derive(Module, Debug)]
#[module(custom_display)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it, and Burn has no modules in boxes"
)]
pub(crate) enum Network<B: Backend> {
    ResNet(ResNet<B>),
    Deit(Deit<B>),
    Swin(Swin<B>),
}

impl NetworkConfig {
    /// Initializes a new [`Network`].
    pub(crate) fn init<B: Backend>(&self, device: &B::Device) -> Network<B> {
        match self {
            Self::ResNet(config) => Network::ResNet(config.init(device)),
            Self::Deit(config) => Network::Deit(config.init(device)),
            Self::Swin(config) => Network::Swin(config.init(device)),
        }
    }
}

/// A line: burn-train's summary shows the network, and the layers of some of these are hundreds.
impl<B: Backend> ModuleDisplay for Network<B> {
    fn format(&self, _settings: DisplaySettings) -> String {
        let family = match self {
            Self::ResNet(_) => "ResNet",
            Self::Deit(_) => "Deit",
            Self::Swin(_) => "Swin",
        };
        format!("{family} {{params: {}}}", self.num_params())
    }
}

impl From<ResNetConfig> for NetworkConfig {
    fn from(config: ResNetConfig) -> Self {
        Self::ResNet(config)
    }
}

impl From<DeitConfig> for NetworkConfig {
    fn from(config: DeitConfig) -> Self {
        Self::Deit(config)
    }
}

impl From<SwinConfig> for NetworkConfig {
    fn from(config: SwinConfig) -> Self {
        Self::Swin(config)
    }
}

impl<B: Backend> ImageNetwork<B> for Network<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        match self {
            Self::ResNet(network) => network.forward(images),
            Self::Deit(network) => network.forward(images),
            Self::Swin(network) => network.forward(images),
        }
    }

    fn input_covariance(&self) -> InputCovariance<B> {
        match self {
            Self::ResNet(network) => network.input_covariance(),
            Self::Deit(network) => network.input_covariance(),
            Self::Swin(network) => network.input_covariance(),
        }
    }
}
