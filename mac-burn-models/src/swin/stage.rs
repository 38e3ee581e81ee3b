use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{PatchMerging, SwinBlock, SwinConfig};

/// A stage: patches are merged, but in the first one, and blocks follow that keep the size of the map.
///
/// Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct SwinStage<B: Backend> {
    /// Makes the map of the stage before coarser; the first stage has none.
    pub merging: Option<PatchMerging<B>>,
    /// The blocks, from the input to the output.
    pub blocks: Vec<SwinBlock<B>>,
}

impl<B: Backend> SwinStage<B> {
    pub(super) fn new(config: &SwinConfig, index: usize, device: &B::Device) -> Self {
        let stage = &config.stages[index];
        let before = index.checked_sub(1).map(|before| &config.stages[before]);
        Self {
            merging: before
                .map(|before| PatchMerging::new(config, [before.d_model, stage.d_model], device)),
            blocks: (0..stage.n_layers)
                .map(|block| SwinBlock::new(config, [index, block], device))
                .collect(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - map: `[batch_size, height, width, d_input]`
    /// - output: `[batch_size, height, width, d_model]`, with half the height and width where patches are merged
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let map = match &self.merging {
            Some(merging) => merging.forward(map),
            None => map,
        };
        self.blocks
            .iter()
            .fold(map, |map, block| block.forward(map))
    }
}
