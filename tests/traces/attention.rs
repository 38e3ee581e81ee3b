//! Self-attention that tests make mistakes with, and the averaged attention of a layer.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, activation::softmax, backend::Backend},
};
use mac_burn::{Recorder, SelfAttention};

use crate::case::QkvMeans;

/// Records the fused projection of a self-attention as an ordinary `Linear`, with one mean for all of its
/// columns.
#[derive(Module, Debug)]
pub(crate) struct OneMeanAttention<B: Backend> {
    qkv: Recorder<B>,
    output: Recorder<B>,
    #[module(skip)]
    means: QkvMeans,
}

impl<B: Backend> OneMeanAttention<B> {
    pub(crate) fn new(means: QkvMeans) -> Self {
        Self {
            qkv: Recorder::new(),
            output: Recorder::new(),
            means,
        }
    }

    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    pub(crate) fn forward(&self, layer: &SelfAttention<B>, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let [query, key, value] = heads(&layer.qkv, layer.n_heads, input.clone());
        let probabilities = probabilities(query, key);
        let seen = match self.means {
            QkvMeans::Attended => attended(averaged(probabilities.clone()), input.clone()),
            _ => input.clone(),
        };
        let value = record(&self.qkv, &layer.qkv, &seen, value);

        let context = probabilities.matmul(value).swap_dims(1, 2);
        let context = context.reshape(input.shape());
        let output = layer.output.forward(context.clone());
        record(&self.output, &layer.output, &context, output)
    }
}

/// The probability that a key gets, averaged over batch, heads and queries.
///
/// # Shapes
///
/// - input: `[batch, tokens, d_model]`
/// - output: `[tokens]`
pub(crate) fn averaged_attention<B: Backend>(
    layer: &SelfAttention<B>,
    input: Tensor<B, 3>,
) -> Tensor<B, 1> {
    let [query, key, _] = heads(&layer.qkv, layer.n_heads, input);

    averaged(probabilities(query, key))
}

fn record<B: Backend, const D: usize>(
    recorder: &Recorder<B>,
    layer: &Linear<B>,
    input: &Tensor<B, 3>,
    output: Tensor<B, D>,
) -> Tensor<B, D> {
    recorder.record_linear(&layer.weight, layer.bias.as_ref(), input, output)
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
