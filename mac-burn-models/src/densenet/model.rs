use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

use super::{DenseBlock, Transition};
use crate::convolution::{Stem, mean_over_positions};

/// The densely connected network: a stem, blocks with a transition between every two, a norm, the mean over all positions, and
/// a linear layer.
///
/// Convolutions and head are recorded. The norms are Burn's, see [`convolution`](crate::convolution) for their one difference
/// from PyTorch's. Should be created with [`DenseNetConfig`](super::DenseNetConfig).
#[derive(Module, Debug)]
pub struct DenseNet<B: Backend> {
    /// What comes before the blocks.
    pub stem: Stem<B>,
    /// The blocks, from the input to the output.
    pub blocks: Vec<DenseBlock<B>>,
    /// What comes after each block but the last.
    pub transitions: Vec<Transition<B>>,
    /// The norm after the last block, with a rectifier after it.
    pub norm: BatchNorm<B>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl<B: Backend> DenseNet<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`, of any height and width of which the transitions leave
    ///   something
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration, or a transition leaves nothing of them.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let mut x = self.stem.forward(images);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(x);
            if let Some(transition) = self.transitions.get(index) {
                x = transition.forward(x);
            }
        }
        let x = relu(self.norm.forward(x));
        self.head.forward(mean_over_positions(x))
    }
}
