use burn::module::Module;
use burn::nn::Dropout;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

use super::{Gelu, by_rows};

/// The two linear layers of a transformer's block with a [`Gelu`] between them, applied to each token (A. Vaswani et al.,
/// "Attention Is All You Need", [arXiv:1706.03762](https://arxiv.org/abs/1706.03762), section 3.3).
///
/// From tokens of size d over a hidden size h there are 2dh + h + d parameters, 2dh without biases.
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    /// The layer to the hidden size.
    pub fc1: MacLinear<B>,
    /// The activation between the layers.
    pub gelu: Gelu,
    /// Drops hidden values, in training.
    pub dropout: Dropout,
    /// The layer back to the size of a token.
    pub fc2: MacLinear<B>,
}

impl<B: Backend> FeedForward<B> {
    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input and output: `[.., d_model]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        by_rows(input, |tokens| {
            let hidden = self.gelu.forward(self.fc1.forward(tokens));
            self.fc2.forward(self.dropout.forward(hidden))
        })
    }
}
