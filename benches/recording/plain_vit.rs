//! A vision transformer whose layers have no recorders.

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::SelfAttention;
use mac_burn_models::VisionTransformer;
use mac_burn_models::transformer::Gelu;
use mac_burn_models::vision_transformer::VisionTransformerBlock;

/// A [`VisionTransformer`] of plain layers, without dropout.
#[derive(Module, Debug)]
pub(crate) struct PlainVit<B: Backend> {
    projection: Conv2d<B>,
    class_token: Param<Tensor<B, 3>>,
    position_embedding: Param<Tensor<B, 3>>,
    blocks: Vec<PlainBlock<B>>,
    norm: LayerNorm<B>,
    head: Linear<B>,
}

#[derive(Module, Debug)]
struct PlainBlock<B: Backend> {
    norm1: LayerNorm<B>,
    attention: SelfAttention<B>,
    norm2: LayerNorm<B>,
    fc1: Linear<B>,
    gelu: Gelu,
    fc2: Linear<B>,
}

impl<B: Backend> From<VisionTransformer<B>> for PlainVit<B> {
    fn from(deit: VisionTransformer<B>) -> Self {
        Self {
            projection: deit.patch_embedding.projection.into_inner(),
            class_token: deit.class_token,
            position_embedding: deit.position_embedding,
            blocks: deit.blocks.into_iter().map(PlainBlock::from).collect(),
            norm: deit.norm,
            head: deit.head.into_inner(),
        }
    }
}

impl<B: Backend> From<VisionTransformerBlock<B>> for PlainBlock<B> {
    fn from(block: VisionTransformerBlock<B>) -> Self {
        Self {
            norm1: block.norm1,
            attention: block.attention.into_inner(),
            norm2: block.norm2,
            fc1: block.mlp.fc1.into_inner(),
            gelu: block.mlp.gelu,
            fc2: block.mlp.fc2.into_inner(),
        }
    }
}

impl<B: Backend> PlainVit<B> {
    /// See [`VisionTransformer::forward`].
    pub(crate) fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let patches = self.projection.forward(images);
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2);
        let [batch_size, _, d_model] = patches.dims();
        let class = self.class_token.val().expand([batch_size, 1, d_model]);
        let tokens = Tensor::cat(vec![class, patches], 1) + self.position_embedding.val();
        let tokens = self.blocks.iter().fold(tokens, |x, block| block.forward(x));
        let class = self.norm.forward(tokens.narrow(1, 0, 1));
        self.head.forward(class.flatten(1, 2))
    }
}

impl<B: Backend> PlainBlock<B> {
    fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let normed = self.norm1.forward(input.clone());
        let x = input + self.attention.forward(normed, None);
        let output = self.feed_forward(self.norm2.forward(x.clone()));
        x + output
    }

    /// All tokens as one matrix, as `FeedForward` has them: only the recorders are to differ.
    fn feed_forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let shape = input.dims();
        let hidden = self.fc1.forward(input.flatten::<2>(0, 1));
        let output = self.fc2.forward(self.gelu.forward(hidden));
        output.reshape(shape)
    }
}
