use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use super::SquareConv;

/// The part of a network before its blocks.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum StemKind {
    /// For images of 224×224: a 7×7 convolution with a stride of 2, norm and rectifier, and a 3×3 max pooling with a stride
    /// of 2. A quarter of the height and width is left.
    Large,
    /// For images of 32×32: a 3×3 convolution, norm and rectifier, which leave images as large as they are.
    Small,
    /// A 3×3 convolution alone, for blocks that begin with a norm and a rectifier of their own.
    Bare,
}

/// The part that sees the image: a convolution, and after it what its kind has.
///
/// Part of a [`ResNet`](crate::ResNet) or a [`DenseNet`](crate::DenseNet).
#[derive(Module, Debug)]
pub struct Stem<B: Backend> {
    /// The convolution.
    pub conv: MacConv2d<B>,
    /// The norm, with a rectifier after it.
    pub norm: Option<BatchNorm<B>>,
    /// The pooling.
    pub pool: Option<MaxPool2d>,
}

impl<B: Backend> Stem<B> {
    /// `channels` is `[image_channels, channels_out]`.
    pub(crate) fn new(
        kind: StemKind,
        channels: [usize; 2],
        initializer: &Initializer,
        device: &B::Device,
    ) -> Self {
        let conv = match kind {
            StemKind::Large => SquareConv::new(channels, 7, initializer).with_stride(2),
            StemKind::Small | StemKind::Bare => SquareConv::new(channels, 3, initializer),
        };
        let norm = || BatchNormConfig::new(channels[1]).init(device);
        Self {
            conv: conv.init(device),
            norm: (kind != StemKind::Bare).then(norm),
            pool: (kind == StemKind::Large).then(pooling),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`: a quarter of the height and width, rounded up, of the
    ///   large stem, and all of it of the others
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let mut x = self.conv.forward(images);
        if let Some(norm) = &self.norm {
            x = relu(norm.forward(x));
        }
        match &self.pool {
            Some(pool) => pool.forward(x),
            None => x,
        }
    }
}

fn pooling() -> MaxPool2d {
    MaxPool2dConfig::new([3, 3])
        .with_strides([2, 2])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init()
}

/// A convolution and the batch norm after it, whose shift stands in for the convolution's bias.
///
/// Every convolution of a [`ResNet`](crate::ResNet) is followed by a norm.
#[derive(Module, Debug)]
pub struct ConvNorm<B: Backend> {
    /// The convolution, without a bias.
    pub conv: MacConv2d<B>,
    /// The norm of its output.
    pub norm: BatchNorm<B>,
}

impl<B: Backend> ConvNorm<B> {
    pub(crate) fn new(conv: SquareConv, device: &B::Device) -> Self {
        Self {
            conv: conv.init(device),
            norm: BatchNormConfig::new(conv.channels_out()).init(device),
        }
    }

    /// Applies the forward pass, without a rectifier.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.norm.forward(self.conv.forward(input))
    }
}

/// A batch norm, a rectifier and a convolution, in this order: pre-activation.
///
/// Every convolution of a [`DenseNet`](crate::DenseNet) but the first is part of one.
#[derive(Module, Debug)]
pub struct NormConv<B: Backend> {
    /// The norm of the input.
    pub norm: BatchNorm<B>,
    /// The convolution, without a bias.
    pub conv: MacConv2d<B>,
}

impl<B: Backend> NormConv<B> {
    pub(crate) fn new(conv: SquareConv, device: &B::Device) -> Self {
        Self {
            norm: BatchNormConfig::new(conv.channels_in()).init(device),
            conv: conv.init(device),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.conv.forward(relu(self.norm.forward(input)))
    }
}
