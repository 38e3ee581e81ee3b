use burn::module::{Module, Param};
use burn::nn::{Dropout, LayerNorm};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

use super::{DeitBlock, PatchEmbedding};
use crate::image_size::assert_image_size;

/// The vision transformer of DeiT: patches become tokens, a class token is put before them, positions are added, and
/// after the blocks the class token gives the logits.
///
/// The layers are recorded; the class token, the positions and the norms have no inputs that a mean could be taken of.
/// Should be created with [`DeitConfig`](super::DeitConfig).
#[derive(Module, Debug)]
pub struct Deit<B: Backend> {
    /// Makes tokens of patches.
    pub patch_embedding: PatchEmbedding<B>,
    /// The first token of every image, `[1, 1, d_model]`.
    pub class_token: Param<Tensor<B, 3>>,
    /// What is added to each token, the class token's first, `[1, 1 + patches, d_model]`.
    pub position_embedding: Param<Tensor<B, 3>>,
    /// Drops values of embedded tokens.
    pub dropout: Dropout,
    /// The blocks, from the input to the output.
    pub blocks: Vec<DeitBlock<B>>,
    /// The norm after the last block.
    pub norm: LayerNorm<B>,
    /// Drops values of the class token that the head sees.
    pub head_dropout: Dropout,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
    /// Height and width of the images, for which there are positions.
    pub image_size: [usize; 2],
}

impl<B: Backend> Deit<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another height, width or number of channels than the configuration.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        assert_image_size(&images, self.image_size);
        let tokens = self.embed(images);
        let tokens = self.blocks.iter().fold(tokens, |x, block| block.forward(x));
        // A norm acts on each token by itself, and only one is read.
        let class = self.norm.forward(tokens.narrow(1, 0, 1));
        let class = self.head_dropout.forward(class);
        self.head.forward(class.flatten(1, 2))
    }

    /// The tokens that the first block sees, `[batch_size, 1 + patches, d_model]`.
    fn embed(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let patches = self.patch_embedding.forward(images);
        let [batch_size, _, d_model] = patches.dims();
        let class = self.class_token.val().expand([batch_size, 1, d_model]);
        let tokens = Tensor::cat(vec![class, patches], 1) + self.position_embedding.val();
        self.dropout.forward(tokens)
    }
}
