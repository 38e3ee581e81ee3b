use super::recorded::sealed::{Function, LayerRecorders};
use super::{Recorded, RecordedLayer};
use crate::layer::Layer;
use crate::statistics::{AttendedValues, Recorder};
use burn::nn::Linear;
use burn::nn::attention::{MhaOutput, MultiHeadAttention};
use burn::tensor::activation::{quiet_softmax, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// The input of a [`MacMultiHeadAttention`](crate::MacMultiHeadAttention): query, key and value, and masks
/// that are true where nothing is to be attended to.
///
/// It is made as Burn's `MhaInput`, whose fields no other crate can read, and has one thing more: which
/// queries are padded.
#[derive(Debug, Clone)]
pub struct AttentionInput<B: Backend> {
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
    mask_pad_query: Option<Tensor<B, 2, Bool>>,
    attends_itself: bool,
}

impl<B: Backend> AttentionInput<B> {
    /// Self-attention: query, key and value are the same.
    ///
    /// # Shapes
    ///
    /// - tensor: `[batch, tokens, d_model]`
    pub fn self_attn(tensor: Tensor<B, 3>) -> Self {
        Self {
            attends_itself: true,
            ..Self::new(tensor.clone(), tensor.clone(), tensor)
        }
    }

    /// Cross-attention. For self-attention use [`self_attn`](Self::self_attn), or give the padding by
    /// [`mask_pad_query`](Self::mask_pad_query) too; otherwise padded queries count in the statistics.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, queries, d_model]`
    /// - key and value: `[batch, keys, d_model]`
    pub fn new(query: Tensor<B, 3>, key: Tensor<B, 3>, value: Tensor<B, 3>) -> Self {
        Self {
            query,
            key,
            value,
            mask_pad: None,
            mask_attn: None,
            mask_pad_query: None,
            attends_itself: false,
        }
    }

    /// Excludes keys from attention, and from the statistics of the key and value projections. In
    /// self-attention the keys are the queries as well, so there it excludes them from all statistics.
    ///
    /// If all keys of a sample are padded, its queries have nothing to attend to but padding. Then they
    /// are excluded from the statistics of the value projection.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, keys]`, or `[1, keys]` for all samples, true at padded positions
    pub fn mask_pad(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad = Some(mask);
        self
    }

    /// Excludes queries from the statistics of the query, value and output projections. It does not
    /// change what the layer computes.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, queries]`, or `[1, queries]` for all samples, true at padded positions
    pub fn mask_pad_query(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad_query = Some(mask);
        self
    }

    /// Excludes keys from the attention of single queries, as a causal mask does. It excludes nothing
    /// from the statistics but by the probabilities that it makes 0.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, queries, keys]`
    pub fn mask_attn(mut self, mask: Tensor<B, 3, Bool>) -> Self {
        self.mask_attn = Some(mask);
        self
    }

    /// The same with padding masks of the whole batch.
    ///
    /// # Panics
    ///
    /// If a padding mask has another shape than the tokens that it is of, or than those of one sample.
    pub(super) fn fitted(mut self) -> Self {
        let ([batch, queries, _], [_, keys, _]) = (self.query.dims(), self.key.dims());
        self.mask_pad = fitted_padding("mask_pad", self.mask_pad, [batch, keys]);
        let mask = self.mask_pad_query;
        self.mask_pad_query = fitted_padding("mask_pad_query", mask, [batch, queries]);
        self
    }

    /// The mask of padded queries.
    pub(super) fn queries_padded(&self) -> Option<Tensor<B, 2, Bool>> {
        let shared = self.mask_pad.as_ref().filter(|_| self.attends_itself);
        match (self.mask_pad_query.as_ref(), shared) {
            (Some(own), Some(shared)) => Some(own.clone().bool_or(shared.clone())),
            (own, shared) => own.or(shared).cloned(),
        }
    }
}

/// A padding mask of the tokens, `[batch, tokens]`, of one that all samples may share, `[1, tokens]`: Burn's
/// attention takes both, and recorders count by sample.
///
/// # Panics
///
/// If the mask has another shape. Burn refuses only what it cannot broadcast, and by the text of that.
pub(super) fn fitted_padding<B: Backend>(
    name: &str,
    mask: Option<Tensor<B, 2, Bool>>,
    tokens: [usize; 2],
) -> Option<Tensor<B, 2, Bool>> {
    let mask = mask?;
    let shape = mask.dims();
    assert!(
        shape == tokens || shape == [1, tokens[1]],
        "`{name}` has the shape {shape:?}, but must have that of its tokens, {tokens:?}, or of one sample's"
    );
    Some(mask.expand(tokens))
}

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
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// # let (tokens, padded) = (Tensor::ones([2, 5, 8], &device), Tensor::full([2, 5], false, &device));
///
/// let attention: MacMultiHeadAttention<B> = MultiHeadAttentionConfig::new(8, 2).init(&device).into();
/// let output = attention.forward(AttentionInput::self_attn(tokens).mask_pad(padded));
/// assert_eq!(output.context.dims(), [2, 5, 8]);
/// ```
pub type MacMultiHeadAttention<B> = Recorded<MultiHeadAttention<B>, B>;

/// The recorders of a multi-head attention, under the names of its projections.
#[derive(Clone, Debug, Default)]
pub struct AttentionRecorders<B: Backend> {
    pub(super) query: Recorder<B>,
    pub(super) key: Recorder<B>,
    pub(super) value: Recorder<B>,
    pub(super) output: Recorder<B>,
}

impl<B: Backend> AttentionRecorders<B> {
    /// The results of a function of each recorder and the layer that it belongs to, in the order of the fields.
    pub(super) fn map_each(&self, layers: [Layer; 4], function: &mut Function<'_, B>) -> Self {
        let [query, key, value, output] = layers;
        Self {
            query: function.call(&self.query, query),
            key: function.call(&self.key, key),
            value: function.call(&self.value, value),
            output: function.call(&self.output, output),
        }
    }
}

impl<B: Backend> RecordedLayer<B> for MultiHeadAttention<B> {
    type Recorders = AttentionRecorders<B>;
}

impl<B: Backend> LayerRecorders<MultiHeadAttention<B>, B> for AttentionRecorders<B> {
    fn new(_layer: &MultiHeadAttention<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &MultiHeadAttention<B>, function: &mut Function<'_, B>) -> Self {
        let layers = [&layer.query, &layer.key, &layer.value, &layer.output];
        self.map_each(layers.map(Layer::linear), function)
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
        forward(self, &self.recorders, input)
    }
}

/// Burn's forward pass, with a recorder at each projection.
pub(super) fn forward<B: Backend>(
    layer: &MultiHeadAttention<B>,
    recorders: &AttentionRecorders<B>,
    input: AttentionInput<B>,
) -> MhaOutput<B> {
    let input = input.fitted();
    let [batch, queries, d_model] = input.query.dims();
    let queries_padded = input.queries_padded();
    let (queries_padded, keys_padded) = (queries_padded.as_ref(), input.mask_pad.as_ref());

    let query = linear(&layer.query, &recorders.query, input.query, queries_padded);
    let key = linear(&layer.key, &recorders.key, input.key, keys_padded);
    let value = layer.value.forward(input.value.clone());
    let [query, key, value] = [query, key, value].map(|projected| heads(layer, projected));

    let weights = weights(layer, query, key, keys_padded, input.mask_attn);
    let attended = AttendedValues {
        probabilities: &weights,
        values: &input.value,
        queries_padded,
        keys_padded,
    };
    let (weight, bias) = (&layer.value.weight, layer.value.bias.as_ref());
    let value = recorders
        .value
        .record_attended(weight, bias, attended, value);

    let context = weights.clone().matmul(value);
    let context = context.swap_dims(1, 2).reshape([batch, queries, d_model]);
    let context = linear(&layer.output, &recorders.output, context, queries_padded);
    MhaOutput { weights, context }
}

/// Burn's forward pass of a linear layer, recorded but at padded positions.
pub(super) fn linear<B: Backend>(
    layer: &Linear<B>,
    recorder: &Recorder<B>,
    input: Tensor<B, 3>,
    padded: Option<&Tensor<B, 2, Bool>>,
) -> Tensor<B, 3> {
    let output = layer.forward(input.clone());
    recorder.record_tokens(&layer.weight, layer.bias.as_ref(), &input, padded, output)
}

/// `[batch, tokens, d_model]` to `[batch, heads, tokens, d_k]`.
fn heads<B: Backend>(layer: &MultiHeadAttention<B>, projected: Tensor<B, 3>) -> Tensor<B, 4> {
    let [batch, tokens, _] = projected.dims();
    projected
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
