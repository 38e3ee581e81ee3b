use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{ResNetConfig, ResidualBlock};

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
