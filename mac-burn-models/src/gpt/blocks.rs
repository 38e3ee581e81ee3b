use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacSelfAttention, SelfAttention, SelfAttentionConfig};

use super::{GptConfig, STD};
use crate::transformer::{FeedForward, Gelu, normal_linear};

/// The hidden size of a feed-forward layer, in multiples of the size of a token's vector.
const MLP_RATIO: usize = 4;

/// A block: causal attention and a feed-forward layer, each with a norm before it and the input added after it.
///
/// Part of a [`Gpt`](super::Gpt).
#[derive(Module, Debug)]
pub struct GptBlock<B: Backend> {
    /// The norm before the attention.
    pub norm1: LayerNorm<B>,
    /// The self-attention, of each token to those before it and itself.
    pub attention: MacSelfAttention<B>,
    /// The norm before the feed-forward layer.
    pub norm2: LayerNorm<B>,
    /// The feed-forward layer.
    pub mlp: FeedForward<B>,
    /// Drops outputs of both branches.
    pub dropout: Dropout,
}

impl<B: Backend> GptBlock<B> {
    pub(super) fn new(config: &GptConfig, device: &B::Device) -> Self {
        let (d_model, bias) = (config.d_model, config.bias);
        let hidden = MLP_RATIO * d_model;
        Self {
            norm1: config.norm().init(device),
            attention: attention(config, device).into(),
            norm2: config.norm().init(device),
            mlp: FeedForward {
                fc1: normal_linear([d_model, hidden], bias, STD, device).into(),
                gelu: Gelu {
                    approximate: config.approximate_gelu,
                },
                dropout: DropoutConfig::new(0.0).init(),
                fc2: normal_linear([hidden, d_model], bias, residual_std(config), device).into(),
            },
            dropout: DropoutConfig::new(config.residual_dropout).init(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input and output: `[batch_size, tokens, d_model]`
    pub fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let attended = self
            .attention
            .forward(self.norm1.forward(input.clone()), None);
        let x = input + self.dropout.forward(attended);
        let output = self.mlp.forward(self.norm2.forward(x.clone()));
        x + self.dropout.forward(output)
    }
}

/// GPT-2's initialization: `2 n_layers` branches add to the residual stream, whose variance they would make grow with
/// their number.
fn residual_std(config: &GptConfig) -> f64 {
    STD / ((2 * config.n_layers) as f64).sqrt()
}

fn attention<B: Backend>(config: &GptConfig, device: &B::Device) -> SelfAttention<B> {
    let (d_model, bias) = (config.d_model, config.bias);
    let mut attention = SelfAttentionConfig::new(d_model, config.n_heads)
        .with_causal(true)
        .with_dropout(config.attention_dropout)
        .init(device);
    attention.qkv = normal_linear([d_model, 3 * d_model], bias, STD, device);
    attention.output = normal_linear([d_model, d_model], bias, residual_std(config), device);
    attention
}
