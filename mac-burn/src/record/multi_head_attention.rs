use super::attention_input::AttentionInput;
use super::layer::LayerParameters;
use super::recorded::sealed::Parameters;
use super::{Recorded, RecordedLayer, Recorder};
use burn::nn::Linear;
use burn::nn::attention::{MhaOutput, MultiHeadAttention};
use burn::tensor::activation::{quiet_softmax, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// Burn's [`MultiHeadAttention`], recorded (MAC, section on attention).
///
/// The query, key and output projections are preconditioned by the mean of their inputs, as any
/// `Linear`. The value projection acts on `A X`, where `A` are the attention probabilities and `X` the
/// values, so its mean activation is the attention-weighted mean
///
/// ```text
/// v̄ = Σ_n ᾱ_n X̄_n
/// ```
///
/// of two averages: `ᾱ`, of the probabilities over batch, heads and queries, and `X̄_n`, of the values at
/// position `n` over the batch. The probabilities are those of the forward pass, its masks and dropout
/// included. The bias sees `Σ_n ᾱ_n`, which is 1 but for a quiet softmax.
///
/// Positions that a padding mask excludes count in no mean. A query that has nothing to attend to
/// attends to everything, as in Burn (with a quiet softmax, to nothing); if it is padding, say so by
/// [`mask_pad_query`](AttentionInput::mask_pad_query). The queries of a sample whose keys are all padded do
/// not count for the value projection: they attend to padding alone.
///
/// Micro-batches, repeated calls and devices add up to the mean of their `v̄`, each weighing as much as it
/// has valid queries. A product of averages is not the average of products: this is the `v̄` of the whole
/// batch only where all parts have the same `ᾱ`, or the same `X̄`. The means of the other projections add up
/// exactly.
///
/// `forward_cache`, for decoding token by token, is the plain layer's and records nothing.
///
/// ```
/// use burn::nn::attention::MultiHeadAttentionConfig;
/// use burn::tensor::Tensor;
/// use mac_burn::{AttentionInput, MacMultiHeadAttention};
/// # type B = burn::backend::Autodiff<burn_ndarray::NdArray<f32>>;
/// # let device = Default::default();
/// # let (tokens, padded) = (Tensor::ones([2, 5, 8], &device), Tensor::full([2, 5], false, &device));
///
/// let attention: MacMultiHeadAttention<B> = MultiHeadAttentionConfig::new(8, 2).init(&device).into();
/// let output = attention.forward(AttentionInput::self_attn(tokens).mask_pad(padded));
/// assert_eq!(output.context.dims(), [2, 5, 8]);
/// ```
pub type MacMultiHeadAttention<B> = Recorded<MultiHeadAttention<B>, B>;

/// The recorders of a multi-head attention: query, key, value, output.
pub(super) const RECORDERS: usize = 4;

impl<B: Backend> RecordedLayer<B> for MultiHeadAttention<B> {
    fn parameters(&self) -> Vec<Parameters> {
        [&self.query, &self.key, &self.value, &self.output]
            .map(|linear| Parameters(LayerParameters::linear(linear)))
            .into()
    }
}

impl<B: Backend> Recorded<MultiHeadAttention<B>, B> {
    /// Records and applies the layer, see [`MultiHeadAttention::forward`].
    ///
    /// # Shapes
    ///
    /// - query: `[batch, queries, d_model]`
    /// - key and value: `[batch, keys, d_model]`
    /// - output: context `[batch, queries, d_model]`, weights `[batch, heads, queries, keys]`
    ///
    /// # Panics
    ///
    /// If a padding mask has another shape than the queries or keys that it is of, or than those of one sample.
    pub fn forward(&self, input: AttentionInput<B>) -> MhaOutput<B> {
        forward(self, self.recorders(), input)
    }
}

/// Burn's forward pass, with a recorder at each projection.
pub(super) fn forward<B: Backend>(
    layer: &MultiHeadAttention<B>,
    recorders: &[Recorder<B>],
    input: AttentionInput<B>,
) -> MhaOutput<B> {
    let input = input.fitted();
    let [batch, queries, d_model] = input.query.dims();
    let queries_padded = input.queries_padded();
    let (queries_padded, keys_padded) = (queries_padded.as_ref(), input.mask_pad.as_ref());

    recorders[0].record_tokens(&layer.query, &input.query, queries_padded);
    recorders[1].record_tokens(&layer.key, &input.key, keys_padded);
    let query = heads(layer, &layer.query, input.query);
    let key = heads(layer, &layer.key, input.key);
    let value = heads(layer, &layer.value, input.value.clone());

    let weights = weights(layer, query, key, keys_padded, input.mask_attn);
    recorders[2].record_attended(
        &layer.value,
        &weights,
        &input.value,
        queries_padded,
        keys_padded,
    );

    let context = weights.clone().matmul(value);
    let context = context.swap_dims(1, 2).reshape([batch, queries, d_model]);
    recorders[3].record_tokens(&layer.output, &context, queries_padded);
    let context = layer.output.forward(context);
    MhaOutput { weights, context }
}

fn heads<B: Backend>(
    layer: &MultiHeadAttention<B>,
    linear: &Linear<B>,
    input: Tensor<B, 3>,
) -> Tensor<B, 4> {
    let [batch, tokens, _] = input.dims();
    linear
        .forward(input)
        .reshape([batch, tokens, layer.n_heads, layer.d_k])
        .swap_dims(1, 2)
}

/// The attention probabilities. Burn drops scores, not probabilities.
fn weights<B: Backend>(
    layer: &MultiHeadAttention<B>,
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    mask_pad: Option<&Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
) -> Tensor<B, 4> {
    let scores = query
        .matmul(key.transpose())
        .div_scalar((layer.d_k as f32).sqrt());
    let mut scores = layer.dropout.forward(scores);
    if let Some(mask) = mask_pad {
        let [batch, keys] = mask.dims();
        let mask = mask.clone().reshape([batch, 1, 1, keys]);
        scores = scores.mask_fill(mask, layer.min_float);
    }
    if let Some(mask) = mask_attn {
        let [batch, queries, keys] = mask.dims();
        scores = scores.mask_fill(mask.reshape([batch, 1, queries, keys]), layer.min_float);
    }
    match layer.quiet_softmax {
        true => quiet_softmax(scores, 3),
        false => softmax(scores, 3),
    }
}
