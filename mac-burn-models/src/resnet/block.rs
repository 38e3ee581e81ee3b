use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{BasicBlock, Bottleneck, ResNetConfig};

/// What the blocks of a network are.
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
