use burn::config::Config;
use burn::module::Module;
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::DenseNetConfig;
use crate::convolution::{NormConv, SquareConv};

/// Layers of one height and width, each of which sees the outputs of all before it.
///
/// Part of a [`DenseNet`](super::DenseNet).
#[derive(Module, Debug)]
pub struct DenseBlock<B: Backend> {
    /// The layers, from the input to the output.
    pub layers: Vec<DenseLayer<B>>,
}

impl<B: Backend> DenseBlock<B> {
    /// As many layers, the first of which sees these channels.
    pub(super) fn new(
        config: &DenseNetConfig,
        channels: usize,
        layers: usize,
        device: &B::Device,
    ) -> Self {
        let layer = |index| DenseLayer::new(config, channels + index * config.growth, device);
        Self {
            layers: (0..layers).map(layer).collect(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels, height, width]`
    /// - output: `[batch_size, channels + layers · growth, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.layers.iter().fold(input, |x, layer| layer.forward(x))
    }
}

/// The place of a layer's output among the channels. Networks of either order are equal but for the order of their weights'
/// channels, which a checkpoint has.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Concatenation {
    /// After what it saw: as in the paper, timm and torchvision.
    OldFirst,
    /// Before what it saw: as in the networks for CIFAR of the authors of MAC.
    NewFirst,
}

/// A layer: a 1×1 convolution into a bottleneck and a 3×3 convolution, whose output joins the input.
///
/// Part of a [`DenseBlock`](super::DenseBlock).
#[derive(Module, Debug)]
pub struct DenseLayer<B: Backend> {
    /// The 1×1 convolution.
    pub conv1: NormConv<B>,
    /// The 3×3 convolution.
    pub conv2: NormConv<B>,
    /// Drops values of what each convolution gives.
    pub dropout: Dropout,
    /// The place of the output.
    #[module(skip)]
    pub concatenation: Concatenation,
}

impl<B: Backend> DenseLayer<B> {
    pub(super) fn new(config: &DenseNetConfig, channels: usize, device: &B::Device) -> Self {
        let inner = config.bottleneck * config.growth;
        let conv1 = SquareConv::new([channels, inner], 1, &config.initializer);
        let conv2 = SquareConv::new([inner, config.growth], 3, &config.initializer);
        Self {
            conv1: NormConv::new(conv1, device),
            conv2: NormConv::new(conv2, device),
            dropout: DropoutConfig::new(config.dropout).init(),
            concatenation: config.concatenation,
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels, height, width]`
    /// - output: `[batch_size, channels + growth, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let inner = self.dropout.forward(self.conv1.forward(input.clone()));
        let output = self.dropout.forward(self.conv2.forward(inner));
        match self.concatenation {
            Concatenation::OldFirst => Tensor::cat(vec![input, output], 1),
            Concatenation::NewFirst => Tensor::cat(vec![output, input], 1),
        }
    }
}

/// The part between two blocks: a 1×1 convolution to fewer channels, and the mean of each 2×2 positions.
///
/// Part of a [`DenseNet`](super::DenseNet).
#[derive(Module, Debug)]
pub struct Transition<B: Backend> {
    /// The convolution.
    pub conv: NormConv<B>,
    /// Drops values of what the convolution gives.
    pub dropout: Dropout,
    /// The pooling.
    pub pool: AvgPool2d,
}

impl<B: Backend> Transition<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(config: &DenseNetConfig, channels: [usize; 2], device: &B::Device) -> Self {
        let conv = SquareConv::new(channels, 1, &config.initializer);
        Self {
            conv: NormConv::new(conv, device),
            dropout: DropoutConfig::new(config.dropout).init(),
            pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌊height / 2⌋, ⌊width / 2⌋]`
    ///
    /// # Panics
    /// If height or width is 1, of which nothing is left.
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, height, width] = input.dims();
        assert!(
            height > 1 && width > 1,
            "a transition halves its map, and leaves nothing of {:?}: the images are too small",
            [height, width]
        );
        let output = self.dropout.forward(self.conv.forward(input));
        self.pool.forward(output)
    }
}
