use burn::config::Config;
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use super::{ConvNorm, ResNetConfig};

/// What comes before the blocks.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum StemKind {
    /// A 7×7 convolution with a stride of 2 and a 3×3 max pooling with another: a quarter of the height and width is left.
    Large,
    /// A 3×3 convolution, which leaves small images as large as they are.
    Small,
}

/// The part that sees the image: a convolution, and for large images a pooling.
///
/// Part of a [`ResNet`](super::ResNet).
#[derive(Module, Debug)]
pub struct Stem<B: Backend> {
    /// The convolution.
    pub conv1: ConvNorm<B>,
    /// The pooling of the large stem.
    pub pool: Option<MaxPool2d>,
}

impl<B: Backend> Stem<B> {
    pub(super) fn new(config: &ResNetConfig, device: &B::Device) -> Self {
        let channels = [config.image_channels, config.channels];
        let initializer = &config.initializer;
        match config.stem {
            StemKind::Large => Self {
                conv1: ConvNorm::new(channels, 7, 2, initializer, device),
                pool: Some(
                    MaxPool2dConfig::new([3, 3])
                        .with_strides([2, 2])
                        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                        .init(),
                ),
            },
            StemKind::Small => Self {
                conv1: ConvNorm::new(channels, 3, 1, initializer, device),
                pool: None,
            },
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, channels, height_out, width_out]`: a quarter of the height and width, rounded up, or all of it
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = relu(self.conv1.forward(images));
        match &self.pool {
            Some(pool) => pool.forward(x),
            None => x,
        }
    }
}
