use super::attention_input::AttentionInput;
use super::attention_sums::Validity;
use super::layer::LayerParameters;
use super::recorded::sealed::Parameters;
use super::{Recorded, RecordedLayer, Recorder};
use burn::nn::Linear;
use burn::nn::attention::{MhaOutput, MultiHeadAttention};
use burn::tensor::activation::{quiet_softmax, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// Burn's [`MultiHeadAttention`], recorded.
///
/// The query, key and output projections are preconditioned by the mean of their inputs, as any
/// `Linear`. The value projection acts on `A X` (`A`: the attention probabilities), so its mean is the
/// attention-weighted one, `v̄ = Σ_n ᾱ_n X̄_n` (paper, section on attention). Padded positions count in no mean.
///
/// `forward_cache`, for decoding token by token, is the plain layer's and records nothing.
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
    pub fn forward(&self, input: AttentionInput<B>) -> MhaOutput<B> {
        forward(self, self.recorders(), input)
    }
}

/// Burn's forward pass, with a recorder before each projection.
pub(super) fn forward<B: Backend>(
    layer: &MultiHeadAttention<B>,
    recorders: &[Recorder<B>],
    input: AttentionInput<B>,
) -> MhaOutput<B> {
    let [batch, queries, d_model] = input.query.dims();
    let valid = |mask: &Option<Tensor<B, 2, Bool>>| {
        mask.as_ref()
            .map(|mask| Validity::of_mask(mask, &input.query))
    };
    let records = recorders
        .iter()
        .any(|recorder| recorder.wants(&input.query.device()));
    let (keys_valid, queries_valid) = match records {
        true => (valid(&input.mask_pad), valid(&input.mask_pad_query)),
        false => (None, None),
    };

    recorders[0].record_tokens(&layer.query, &input.query, queries_valid.as_ref());
    recorders[1].record_tokens(&layer.key, &input.key, keys_valid.as_ref());
    let query = heads(layer, &layer.query, input.query);
    let key = heads(layer, &layer.key, input.key);
    let value = heads(layer, &layer.value, input.value.clone());

    let scores = query
        .matmul(key.transpose())
        .div_scalar((layer.d_k as f32).sqrt());
    let scores = layer.dropout.forward(scores);
    let scores = mask(layer, scores, input.mask_pad, input.mask_attn);
    let weights = match layer.quiet_softmax {
        true => quiet_softmax(scores, 3),
        false => softmax(scores, 3),
    };
    recorders[2].record_attended(
        &layer.value,
        &weights,
        &input.value,
        [queries_valid.as_ref(), keys_valid.as_ref()],
    );

    let context = weights.clone().matmul(value);
    let context = context.swap_dims(1, 2).reshape([batch, queries, d_model]);
    recorders[3].record_tokens(&layer.output, &context, queries_valid.as_ref());
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

fn mask<B: Backend>(
    layer: &MultiHeadAttention<B>,
    mut scores: Tensor<B, 4>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
) -> Tensor<B, 4> {
    if let Some(mask) = mask_pad {
        let [batch, keys] = mask.dims();
        scores = scores.mask_fill(mask.reshape([batch, 1, 1, keys]), layer.min_float);
    }
    if let Some(mask) = mask_attn {
        let [batch, queries, keys] = mask.dims();
        scores = scores.mask_fill(mask.reshape([batch, 1, queries, keys]), layer.min_float);
    }
    scores
}
