use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{WideBlock, WideResNetConfig};

/// Blocks of one size, which the paper calls conv2, conv3 and conv4: the first of them has the stride and the new number of
/// channels.
///
/// Part of a [`WideResNet`](super::WideResNet).
#[derive(Module, Debug)]
pub struct WideGroup<B: Backend> {
    /// The blocks, from the input to the output.
    pub blocks: Vec<WideBlock<B>>,
}

impl<B: Backend> WideGroup<B> {
    /// The group of this index, counted from 0.
    pub(super) fn new(config: &WideResNetConfig, index: usize, device: &B::Device) -> Self {
        let channels_in = config.channels_into_group(index);
        let channels_out = config.channels_of_group(index);
        let stride = if index == 0 { 1 } else { 2 };
        let block = |position| match position {
            0 => WideBlock::new([channels_in, channels_out], stride, config.dropout, device),
            _ => WideBlock::new([channels_out; 2], 1, config.dropout, device),
        };
        Self {
            blocks: (0..config.blocks()).map(block).collect(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height, width]`
    /// - output: `[batch_size, channels_out, height, width]` of the first group, half the height and width, rounded up, of
    ///   the others
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.blocks.iter().fold(input, |x, block| block.forward(x))
    }
}
