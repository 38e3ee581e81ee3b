//! GPT-2, as nanoGPT has it: a transformer that gives the logits of each next token.
//!
//! A. Radford et al., ["Language Models are Unsupervised Multitask
//! Learners"](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf), 2019; A.
//! Karpathy, [nanoGPT](https://github.com/karpathy/nanoGPT), from whose definition the networks of the MAC paper are made.

mod blocks;

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

pub use blocks::GptBlock;

use crate::limits::{assert_at_least_one, assert_rate};
use crate::transformer::by_rows;

#[cfg(test)]
mod tests;

/// The standard deviation of weights and embeddings.
const STD: f64 = 0.02;

/// Configuration of a [`Gpt`].
///
/// The constructors have these parameters:
///
/// | | vocabulary | context | layers | heads | d_model | bias | parameters |
/// |---|---|---|---|---|---|---|---|
/// | [`gpt2`](Self::gpt2) | 50 257 | 1024 | 12 | 12 | 768 | yes | 124 439 808 |
/// | [`new`](Self::new)`(50_304)` | 50 304 | 1024 | 12 | 12 | 768 | yes | 124 475 904 |
/// | [`mac_small`](Self::mac_small) | 50 304 | 512 | 8 | 8 | 256 | no | 19 304 704 |
/// | [`characters`](Self::characters) | 65 | 256 | 6 | 6 | 384 | no | 10 745 088 |
///
/// Weights and embeddings start normal with a standard deviation of 0.02, the two layers of each block that write to the
/// residual stream with `0.02 / √(2 n_layers)`, biases at 0 and norms at 1.
#[derive(Config, Debug)]
pub struct GptConfig {
    /// The number of different tokens.
    pub vocab_size: usize,
    /// The number of tokens that the network sees at most.
    #[config(default = 1024)]
    pub context_size: usize,
    /// The number of blocks.
    #[config(default = 12)]
    pub n_layers: usize,
    /// The number of attention heads; it divides the size of a token's vector.
    #[config(default = 12)]
    pub n_heads: usize,
    /// The size of a token's vector.
    #[config(default = 768)]
    pub d_model: usize,
    /// Whether linear layers and norms have a bias; the head never has.
    #[config(default = true)]
    pub bias: bool,
    /// The ε of the layer norms.
    #[config(default = 1e-5)]
    pub norm_epsilon: f64,
    /// Whether the activation is the [approximation](crate::transformer::Gelu) with which OpenAI trained GPT-2; nanoGPT
    /// takes the exact one.
    #[config(default = false)]
    pub approximate_gelu: bool,
    /// The dropout rate of embedded tokens, in [0, 1).
    #[config(default = 0.0)]
    pub embedding_dropout: f64,
    /// The dropout rate of attention probabilities, in [0, 1).
    #[config(default = 0.0)]
    pub attention_dropout: f64,
    /// The dropout rate of what is added to the residual stream, in [0, 1).
    #[config(default = 0.0)]
    pub residual_dropout: f64,
}

impl GptConfig {
    /// GPT-2 of 124 million parameters with its own vocabulary.
    pub fn gpt2() -> Self {
        Self::new(50_257)
    }

    /// The network that the authors of MAC train by default: GPT-2's vocabulary, padded to a multiple of 64, and no biases.
    pub fn mac_small() -> Self {
        Self::new(50_304)
            .with_context_size(512)
            .with_n_layers(8)
            .with_n_heads(8)
            .with_d_model(256)
            .with_bias(false)
    }

    /// The network for the characters of Shakespeare's works, of which there are 65.
    pub fn characters() -> Self {
        Self::new(65)
            .with_context_size(256)
            .with_n_layers(6)
            .with_n_heads(6)
            .with_d_model(384)
            .with_bias(false)
    }

    /// Sets all dropout rates, which nanoGPT keeps equal.
    pub fn with_dropout(self, rate: f64) -> Self {
        self.with_embedding_dropout(rate)
            .with_attention_dropout(rate)
            .with_residual_dropout(rate)
    }

    /// Initializes a new [`Gpt`].
    ///
    /// # Panics
    /// If the number of heads does not divide the size of a token's vector, that size, the vocabulary's or the context's is 0,
    /// or a rate is out of its range.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Gpt<B> {
        self.check();
        Gpt {
            token_embedding: self.embedding(self.vocab_size, device),
            position_embedding: self.embedding(self.context_size, device),
            dropout: DropoutConfig::new(self.embedding_dropout).init(),
            blocks: (0..self.n_layers)
                .map(|_| GptBlock::new(self, device))
                .collect(),
            norm: self.norm().init(device),
        }
    }

    fn check(&self) {
        assert_at_least_one("vocab_size", self.vocab_size);
        assert_at_least_one("context_size", self.context_size);
        assert_at_least_one("d_model", self.d_model);
        assert_rate("embedding_dropout", self.embedding_dropout);
        assert_rate("attention_dropout", self.attention_dropout);
        assert_rate("residual_dropout", self.residual_dropout);
    }

    fn norm(&self) -> LayerNormConfig {
        LayerNormConfig::new(self.d_model)
            .with_epsilon(self.norm_epsilon)
            .with_bias(self.bias)
    }

    fn embedding<B: Backend>(&self, entries: usize, device: &B::Device) -> Embedding<B> {
        EmbeddingConfig::new(entries, self.d_model)
            .with_initializer(Initializer::Normal {
                mean: 0.0,
                std: STD,
            })
            .init(device)
    }
}

/// GPT-2: vectors of tokens and positions, blocks of causal attention, and a head that is the table of token vectors
/// again: `logits = x · Wᵀ`, with `W` the weight of [`token_embedding`](Self::token_embedding).
///
/// The layers of the blocks are recorded. The tied head is not: its weight is one parameter with the embedding's, whose
/// gradient is the sum of both uses, and the mean of the head's inputs describes only one of them. The optimizer takes
/// its plain step there, or the auxiliary optimizer's. No layer sees the input itself, so there is no `first_layer` for an
/// [`InputCovariance`](mac_burn::InputCovariance).
///
/// Should be created with [`GptConfig`].
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

    /// The input of the first block, `[batch_size, tokens, d_model]`.
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

/// The name in the `state_dict` of nanoGPT's `GPT`, which the authors use, of the parameter at a path of a
/// [`Gpt`]. The tied head is listed under the name of the token embedding.
///
/// ```
/// use mac_burn_models::gpt::authors_name;
///
/// let path = "blocks.0.mlp.fc1.weight";
/// assert_eq!(authors_name(path), "transformer.h.0.mlp.c_fc.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    let names = path.split('.').map(|name| match name {
        "token_embedding" => "wte",
        "position_embedding" => "wpe",
        "blocks" => "h",
        "norm1" => "ln_1",
        "norm2" => "ln_2",
        "norm" => "ln_f",
        "attention" => "attn",
        "qkv" => "c_attn",
        "output" | "fc2" => "c_proj",
        "fc1" => "c_fc",
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    });

    format!("transformer.{}", names.collect::<Vec<_>>().join("."))
}
