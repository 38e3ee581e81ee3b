use burn::module::Module;
use burn::nn::{Dropout, Embedding, LayerNorm};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::GptBlock;
use crate::transformer::by_rows;

/// GPT-2: vectors of tokens and positions, blocks of causal attention, and a head that is the table of token vectors
/// again: `logits = x · Wᵀ`, with `W` the weight of [`token_embedding`](Self::token_embedding).
///
/// The layers of the blocks are recorded. The tied head is not: its weight is one parameter with the embedding's, whose
/// gradient is the sum of both uses, and the mean of the head's inputs describes only one of them. The optimizer takes
/// its plain step there, or the auxiliary optimizer's.
///
/// Should be created with [`GptConfig`](super::GptConfig).
#[derive(Module, Debug)]
pub struct Gpt<B: Backend> {
    /// The vectors of the tokens, and the head.
    pub token_embedding: Embedding<B>,
    /// The vectors of the positions.
    pub position_embedding: Embedding<B>,
    /// Drops values of embedded tokens.
    pub dropout: Dropout,
    /// The blocks, from the input to the output.
    pub blocks: Vec<GptBlock<B>>,
    /// The norm before the head.
    pub norm: LayerNorm<B>,
}

impl<B: Backend> Gpt<B> {
    /// Applies the forward pass: at each position, the logits of the token that follows it. To generate text, sample
    /// from those of the last position and append.
    ///
    /// # Shapes
    /// - tokens: `[batch_size, tokens]`, of 1 to `context_size` tokens
    /// - output: `[batch_size, tokens, vocab_size]`
    ///
    /// # Panics
    /// If there is no token, or there are more than the context holds.
    pub fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let x = self.embed(tokens);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.head(self.norm.forward(x))
    }

    /// What the first block sees, `[batch_size, tokens, d_model]`.
    fn embed(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [_, length] = tokens.dims();
        let positions = self.position_embedding.weight.val();
        let [context_size, _] = positions.dims();
        assert!(
            (1..=context_size).contains(&length),
            "the context holds 1 to {context_size} tokens (context_size), and there are {length}"
        );
        let positions = positions.narrow(0, 0, length).unsqueeze();
        self.dropout
            .forward(self.token_embedding.forward(tokens) + positions)
    }

    /// One product for all positions: batched, the weight's gradient would be a table for each sample.
    fn head(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let weight = self.token_embedding.weight.val();
        by_rows(x, |tokens| tokens.matmul(weight.transpose()))
    }
}
