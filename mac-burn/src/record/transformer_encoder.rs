use super::attention_input::{AttentionInput, fitted_padding};
use super::layer::LayerParameters;
use super::multi_head_attention;
use super::recorded::sealed::Parameters;
use super::{Recorded, RecordedLayer, Recorder};
use burn::nn::LayerNorm;
use burn::nn::transformer::{PositionWiseFeedForward, TransformerEncoder, TransformerEncoderLayer};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// Burn's [`TransformerEncoder`], recorded: attention as
/// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention), feed-forward layers as
/// [`MacLinear`](crate::MacLinear). Padded positions count in no mean.
///
/// `forward_autoregressive_inference`, for decoding token by token, is the plain encoder's and records
/// nothing.
pub type MacTransformerEncoder<B> = Recorded<TransformerEncoder<B>, B>;

/// One layer of Burn's [`TransformerEncoder`], recorded.
pub type MacTransformerEncoderLayer<B> = Recorded<TransformerEncoderLayer<B>, B>;

/// What a [`MacTransformerEncoder`] takes. It is made as Burn's `TransformerEncoderInput`, whose fields no
/// other crate can read.
#[derive(Debug, Clone)]
pub struct EncoderInput<B: Backend> {
    tensor: Tensor<B, 3>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
}

impl<B: Backend> EncoderInput<B> {
    /// An input without masks.
    ///
    /// # Shapes
    ///
    /// - tensor: `[batch, tokens, d_model]`
    pub fn new(tensor: Tensor<B, 3>) -> Self {
        Self {
            tensor,
            mask_pad: None,
            mask_attn: None,
        }
    }

    /// Excludes padded positions from attention and from all statistics.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, tokens]`, or `[1, tokens]` for all samples, true at padded positions
    pub fn mask_pad(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad = Some(mask);
        self
    }

    /// Excludes tokens from the attention of single tokens, as a causal mask does.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, tokens, tokens]`, true where nothing is attended to
    pub fn mask_attn(mut self, mask: Tensor<B, 3, Bool>) -> Self {
        self.mask_attn = Some(mask);
        self
    }
}

/// The recorders of a layer: those of the attention, and the two of the feed-forward layer.
const RECORDERS: usize = multi_head_attention::RECORDERS + FEED_FORWARD_RECORDERS;

/// The recorders of a position-wise feed-forward layer.
pub(super) const FEED_FORWARD_RECORDERS: usize = 2;

impl<B: Backend> RecordedLayer<B> for TransformerEncoderLayer<B> {
    fn parameters(&self) -> Vec<Parameters> {
        let mut parameters = self.mha.parameters();
        parameters.extend(feed_forward_parameters(&self.pwff));
        parameters
    }
}

impl<B: Backend> RecordedLayer<B> for TransformerEncoder<B> {
    fn parameters(&self) -> Vec<Parameters> {
        self.layers
            .iter()
            .flat_map(RecordedLayer::parameters)
            .collect()
    }
}

pub(super) fn feed_forward_parameters<B: Backend>(
    layer: &PositionWiseFeedForward<B>,
) -> [Parameters; FEED_FORWARD_RECORDERS] {
    [&layer.linear_inner, &layer.linear_outer]
        .map(|linear| Parameters(LayerParameters::linear(linear)))
}

impl<B: Backend> Recorded<TransformerEncoderLayer<B>, B> {
    /// Records and applies the layer, see [`TransformerEncoderLayer::forward`].
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - mask_pad: `[batch, tokens]`, or `[1, tokens]` for all samples, true at padded positions
    /// - mask_attn: `[batch, tokens, tokens]`, true where nothing is attended to
    ///
    /// # Panics
    ///
    /// If `mask_pad` has another shape.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
        mask_attn: Option<Tensor<B, 3, Bool>>,
    ) -> Tensor<B, 3> {
        forward(self, self.recorders(), input, mask_pad, mask_attn)
    }
}

impl<B: Backend> Recorded<TransformerEncoder<B>, B> {
    /// Records and applies the encoder, see [`TransformerEncoder::forward`].
    ///
    /// # Shapes
    ///
    /// - output: `[batch, tokens, d_model]`
    ///
    /// # Panics
    ///
    /// If the padding mask has another shape than the tokens, or than those of one sample.
    pub fn forward(&self, input: EncoderInput<B>) -> Tensor<B, 3> {
        let EncoderInput {
            tensor,
            mask_pad,
            mask_attn,
        } = input;
        let layers = self.layers.iter().zip(self.recorders().chunks(RECORDERS));
        layers.fold(tensor, |x, (layer, recorders)| {
            forward(layer, recorders, x, mask_pad.clone(), mask_attn.clone())
        })
    }
}

/// Burn's forward pass of a layer, recorded.
fn forward<B: Backend>(
    layer: &TransformerEncoderLayer<B>,
    recorders: &[Recorder<B>],
    x: Tensor<B, 3>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
) -> Tensor<B, 3> {
    let (for_attention, for_feed_forward) = recorders.split_at(multi_head_attention::RECORDERS);
    let [batch, tokens, _] = x.dims();
    let mask_pad = fitted_padding("mask_pad", mask_pad, [batch, tokens]);
    let normalized = match layer.norm_first {
        true => layer.norm_2.forward(x.clone()),
        false => x.clone(),
    };
    let attention = AttentionInput::self_attn(normalized);
    let attention = masked(attention, mask_pad.clone(), mask_attn);
    let context = multi_head_attention::forward(&layer.mha, for_attention, attention).context;
    let x = x + layer.dropout.forward(context);

    let (x, normalized) = residual(x, layer.norm_first, &layer.norm_1);
    let padded = mask_pad.as_ref();
    let output = feed_forward(&layer.pwff, for_feed_forward, normalized, padded);
    let x = x + layer.dropout.forward(output);
    match layer.norm_first {
        true => x,
        false => layer.norm_2.forward(x),
    }
}

/// The main path and the input of the next residual path: the norm is on the latter or on both.
pub(super) fn residual<B: Backend>(
    x: Tensor<B, 3>,
    norm_first: bool,
    norm: &LayerNorm<B>,
) -> (Tensor<B, 3>, Tensor<B, 3>) {
    let normalized = norm.forward(x.clone());
    match norm_first {
        true => (x, normalized),
        false => (normalized.clone(), normalized),
    }
}

pub(super) fn masked<B: Backend>(
    mut input: AttentionInput<B>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
) -> AttentionInput<B> {
    if let Some(mask) = mask_pad {
        input = input.mask_pad(mask);
    }
    if let Some(mask) = mask_attn {
        input = input.mask_attn(mask);
    }
    input
}

/// Burn's forward pass of a position-wise feed-forward layer, recorded.
pub(super) fn feed_forward<B: Backend>(
    layer: &PositionWiseFeedForward<B>,
    recorders: &[Recorder<B>],
    input: Tensor<B, 3>,
    padded: Option<&Tensor<B, 2, Bool>>,
) -> Tensor<B, 3> {
    recorders[0].record_tokens(&layer.linear_inner, &input, padded);
    let x = layer.linear_inner.forward(input);
    let x = layer.dropout.forward(layer.activation.forward(x));
    recorders[1].record_tokens(&layer.linear_outer, &x, padded);
    layer.linear_outer.forward(x)
}
