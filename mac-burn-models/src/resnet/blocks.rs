use burn::config::Config;
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, s};

use super::ResNetConfig;
use crate::convolution::{ConvNorm, SquareConv};

/// Blocks of one size: the first of them has the stride and the new number of channels.
///
/// Part of a [`ResNet`](super::ResNet).
#[derive(Module, Debug)]
pub struct Stage<B: Backend> {
    /// The blocks, from the input to the output.
    pub blocks: Vec<ResidualBlock<B>>,
}

impl<B: Backend> Stage<B> {
    /// The stage of this index, counted from 0.
    pub(super) fn new(config: &ResNetConfig, index: usize, device: &B::Device) -> Self {
        let channels_out = config.channels_of_stage(index);
        let (channels_in, stride) = match index {
            0 => (config.channels, 1),
            _ => (config.channels_of_stage(index - 1), 2),
        };
        let block = |position| match position {
            0 => ResidualBlock::new(config, [channels_in, channels_out], stride, device),
            _ => ResidualBlock::new(config, [channels_out, channels_out], 1, device),
        };
        Self {
            blocks: (0..config.blocks[index]).map(block).collect(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, height, width]` of the first stage, half the height and width, rounded up, of
    ///   the others
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.blocks.iter().fold(input, |x, block| block.forward(x))
    }
}

/// The kind of a network's blocks.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3×3 convolutions: [`BasicBlock`].
    Basic,
    /// A 3×3 convolution between two of 1×1: [`Bottleneck`].
    Bottleneck,
}

/// A block of either kind.
///
/// Part of a [`Stage`](super::Stage).
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the blocks of a network are all of one kind, and their tensors are elsewhere"
)]
pub enum ResidualBlock<B: Backend> {
    /// Of the smaller networks.
    Basic(BasicBlock<B>),
    /// Of the larger networks.
    Bottleneck(Bottleneck<B>),
}

impl<B: Backend> ResidualBlock<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        config: &ResNetConfig,
        channels: [usize; 2],
        stride: usize,
        device: &B::Device,
    ) -> Self {
        match config.block {
            BlockKind::Basic => Self::Basic(BasicBlock::new(config, channels, stride, device)),
            BlockKind::Bottleneck => {
                Self::Bottleneck(Bottleneck::new(config, channels, stride, device))
            }
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Self::Basic(block) => block.forward(input),
            Self::Bottleneck(block) => block.forward(input),
        }
    }
}

/// The block of the smaller networks: two 3×3 convolutions, of which the first has the stride.
///
/// Part of a [`Stage`](super::Stage).
#[derive(Module, Debug)]
pub struct BasicBlock<B: Backend> {
    /// The first convolution.
    pub conv1: ConvNorm<B>,
    /// The second convolution.
    pub conv2: ConvNorm<B>,
    /// The way around both.
    pub shortcut: Shortcut<B>,
}

impl<B: Backend> BasicBlock<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        config: &ResNetConfig,
        channels: [usize; 2],
        stride: usize,
        device: &B::Device,
    ) -> Self {
        let inner = [channels[1]; 2];
        let conv1 = SquareConv::new(channels, 3, &config.initializer).with_stride(stride);
        let conv2 = SquareConv::new(inner, 3, &config.initializer);
        Self {
            conv1: ConvNorm::new(conv1, device),
            conv2: ConvNorm::new(conv2, device),
            shortcut: Shortcut::new(config, channels, stride, device),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = relu(self.conv1.forward(input.clone()));
        let x = self.conv2.forward(x);
        relu(x + self.shortcut.forward(input))
    }
}

/// The block of the larger networks: a 1×1 convolution to fewer channels, a 3×3 convolution, and a 1×1 convolution to four
/// times as many.
///
/// The 3×3 convolution has the stride; in the paper it is the first one. Part of a [`Stage`](super::Stage).
#[derive(Module, Debug)]
pub struct Bottleneck<B: Backend> {
    /// The 1×1 convolution into the bottleneck.
    pub conv1: ConvNorm<B>,
    /// The 3×3 convolution.
    pub conv2: ConvNorm<B>,
    /// The 1×1 convolution out of the bottleneck.
    pub conv3: ConvNorm<B>,
    /// The way around all three.
    pub shortcut: Shortcut<B>,
}

impl<B: Backend> Bottleneck<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        config: &ResNetConfig,
        channels: [usize; 2],
        stride: usize,
        device: &B::Device,
    ) -> Self {
        let [channels_in, channels_out] = channels;
        let inner = config.channels_within(channels_out);
        let conv =
            |channels, kernel_size| SquareConv::new(channels, kernel_size, &config.initializer);
        let conv2 = conv([inner, inner], 3).with_stride(stride);
        Self {
            conv1: ConvNorm::new(conv([channels_in, inner], 1), device),
            conv2: ConvNorm::new(conv2, device),
            conv3: ConvNorm::new(conv([inner, channels_out], 1), device),
            shortcut: Shortcut::new(config, channels, stride, device),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = relu(self.conv1.forward(input.clone()));
        let x = relu(self.conv2.forward(x));
        let x = self.conv3.forward(x);
        relu(x + self.shortcut.forward(input))
    }
}

/// The shortcut of a block that changes the shape; elsewhere it is the identity.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum ShortcutKind {
    /// Takes every other row and column, and puts zeros for the channels that are missing, half of them on either side:
    /// the paper's option A, which has no parameters.
    Padding,
    /// A 1×1 convolution with the block's stride, and a norm: the paper's option B.
    Projection,
}

/// The way around a block.
///
/// Part of a [`BasicBlock`](super::BasicBlock) or a [`Bottleneck`](super::Bottleneck).
#[derive(Module, Debug)]
pub struct Shortcut<B: Backend> {
    /// The projection; without one, rows and columns are left out and channels are filled up with zeros, as many as it
    /// takes.
    pub projection: Option<ConvNorm<B>>,
    /// Of as many rows and columns one is taken.
    pub stride: usize,
    /// Channels of the output.
    pub channels: usize,
}

impl<B: Backend> Shortcut<B> {
    /// `channels` is `[channels_in, channels_out]`.
    pub(super) fn new(
        config: &ResNetConfig,
        channels: [usize; 2],
        stride: usize,
        device: &B::Device,
    ) -> Self {
        let [channels_in, channels_out] = channels;
        let changes = stride != 1 || channels_in != channels_out;
        let projects = changes && config.shortcut == ShortcutKind::Projection;
        let projection = SquareConv::new(channels, 1, &config.initializer).with_stride(stride);
        Self {
            projection: projects.then(|| ConvNorm::new(projection, device)),
            stride,
            channels: channels_out,
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        match &self.projection {
            Some(projection) => projection.forward(input),
            None => self.filled_up(self.subsampled(input)),
        }
    }

    fn subsampled(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        match self.stride {
            1 => input,
            stride => input.slice(s![.., .., ..;stride, ..;stride]),
        }
    }

    fn filled_up(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch_size, channels, height, width] = input.dims();
        if channels == self.channels {
            return input;
        }
        let first = (self.channels - channels) / 2;
        // Of the input's float type, which is not always the device's.
        let zeros = Tensor::zeros(
            [batch_size, self.channels, height, width],
            (&input.device(), input.dtype()),
        );
        zeros.slice_assign(s![.., first..first + channels, .., ..], input)
    }
}
