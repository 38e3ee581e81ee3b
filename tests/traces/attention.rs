//! Self-attention of a case: the one of this project, and one that tests make mistakes with.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, activation::softmax, backend::Backend},
};
use mac_burn::{MacLinear, MacSelfAttention, Recorder, SelfAttentionConfig};

use crate::case::QkvMeans;

/// Self-attention, its projection to queries, keys and values preconditioned by the means that the
/// case asks for.
#[derive(Module, Debug)]
pub(crate) enum Attention<B: Backend> {
    Recorded(MacSelfAttention<B>),
    Mistaken(OneMeanAttention<B>),
}

/// Self-attention whose fused projection is recorded as an ordinary `Linear`, with one mean for all of
/// its columns.
#[derive(Module, Debug)]
pub(crate) struct OneMeanAttention<B: Backend> {
    qkv: Linear<B>,
    output: MacLinear<B>,
    n_heads: usize,
    #[module(skip)]
    means: QkvMeans,
    recorder: Recorder<B>,
}

impl<B: Backend> Attention<B> {
    /// # Panics
    ///
    /// If `n_heads` does not divide `d_model`.
    pub(crate) fn new(
        [qkv, output]: [MacLinear<B>; 2],
        n_heads: usize,
        means: QkvMeans,
        device: &B::Device,
    ) -> Self {
        match means {
            QkvMeans::TokensAndAttended => Self::Recorded(
                SelfAttentionConfig::new(qkv.weight.dims()[0], n_heads)
                    .with_qkv_bias(qkv.bias.is_some())
                    .with_output_bias(output.bias.is_some())
                    .init(device)
                    .into(),
            ),
            QkvMeans::Tokens | QkvMeans::Attended => Self::Mistaken(OneMeanAttention {
                qkv: qkv.into_inner(),
                output,
                n_heads,
                means,
                recorder: Recorder::new(),
            }),
        }
    }

    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    pub(crate) fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        match self {
            Self::Recorded(layer) => layer.forward(input, None),
            Self::Mistaken(layer) => layer.forward(input),
        }
    }

    /// The probability that a key gets, averaged over batch, heads and queries.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, tokens, d_model]`
    /// - output: `[tokens]`
    pub(crate) fn averaged(&self, input: Tensor<B, 3>) -> Tensor<B, 1> {
        let [query, key, _] = match self {
            Self::Recorded(layer) => heads(&layer.qkv, layer.n_heads, input),
            Self::Mistaken(layer) => heads(&layer.qkv, layer.n_heads, input),
        };

        averaged(probabilities(query, key))
    }
}

impl<B: Backend> OneMeanAttention<B> {
    fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let [query, key, value] = heads(&self.qkv, self.n_heads, input.clone());
        let probabilities = probabilities(query, key);
        let seen = match self.means {
            QkvMeans::Attended => attended(averaged(probabilities.clone()), input.clone()),
            _ => input.clone(),
        };
        let (weight, bias) = (&self.qkv.weight, self.qkv.bias.as_ref());
        self.recorder.record_linear(weight, bias, &seen);

        let context = probabilities.matmul(value).swap_dims(1, 2);
        self.output.forward(context.reshape(input.shape()))
    }
}

/// Queries, keys and values, each `[batch, heads, tokens, d_head]`.
fn heads<B: Backend>(qkv: &Linear<B>, n_heads: usize, input: Tensor<B, 3>) -> [Tensor<B, 4>; 3] {
    let [batch, tokens, d_model] = input.dims();
    let all = qkv
        .forward(input)
        .reshape([batch, tokens, 3, n_heads, d_model / n_heads]);

    [0, 1, 2].map(|part| {
        let part = all.clone().narrow(2, part, 1).squeeze_dim::<4>(2);
        part.swap_dims(1, 2)
    })
}

/// `softmax(q kᵀ / √d_head)`, `[batch, heads, queries, keys]`.
fn probabilities<B: Backend>(query: Tensor<B, 4>, key: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, _, d_head] = query.dims();
    // Not divided: the derivative of Burn 0.21's `div_scalar` rounds the scalar to `f32`.
    let scores = query
        .matmul(key.transpose())
        .mul_scalar((d_head as f64).sqrt().recip());

    softmax(scores, 3)
}

/// The mean over batch, heads and queries, `[keys]`.
fn averaged<B: Backend>(probabilities: Tensor<B, 4>) -> Tensor<B, 1> {
    let [batch, heads, queries, keys] = probabilities.dims();
    let rows = probabilities.reshape([batch * heads * queries, keys]);

    rows.mean_dim(0).squeeze_dim(0)
}

/// The mean that the value columns of the method have, as an input of one token.
fn attended<B: Backend>(attention: Tensor<B, 1>, input: Tensor<B, 3>) -> Tensor<B, 3> {
    let [_, tokens, _] = input.dims();

    attention.reshape([1, 1, tokens]).matmul(input.mean_dim(0))
}
