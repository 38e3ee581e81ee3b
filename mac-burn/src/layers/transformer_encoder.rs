use super::attention::{self, AttentionInput, AttentionRecorders, fitted_padding, linear};
use super::recorded::sealed::{Function, LayerRecorders};
use super::{Recorded, RecordedLayer};
use crate::layer::Layer;
use crate::statistics::Recorder;
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

/// The input of a [`MacTransformerEncoder`]. It is made as Burn's `TransformerEncoderInput`, whose fields no
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

/// The recorders of an encoder layer, under the names of its parts.
#[derive(Clone, Debug, Default)]
pub struct EncoderLayerRecorders<B: Backend> {
    mha: AttentionRecorders<B>,
    pwff: FeedForwardRecorders<B>,
}

impl<B: Backend> RecordedLayer<B> for TransformerEncoderLayer<B> {
    type Recorders = EncoderLayerRecorders<B>;
}

impl<B: Backend> LayerRecorders<TransformerEncoderLayer<B>, B> for EncoderLayerRecorders<B> {
    fn new(_layer: &TransformerEncoderLayer<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &TransformerEncoderLayer<B>, function: &mut Function<'_, B>) -> Self {
        Self {
            mha: self.mha.map(&layer.mha, function),
            pwff: self.pwff.map(&layer.pwff, function),
        }
    }
}

impl<B: Backend> RecordedLayer<B> for TransformerEncoder<B> {
    type Recorders = Vec<EncoderLayerRecorders<B>>;
}

impl<B: Backend> LayerRecorders<TransformerEncoder<B>, B> for Vec<EncoderLayerRecorders<B>> {
    fn new(encoder: &TransformerEncoder<B>) -> Self {
        encoder
            .layers
            .iter()
            .map(EncoderLayerRecorders::new)
            .collect()
    }

    fn map(&self, encoder: &TransformerEncoder<B>, function: &mut Function<'_, B>) -> Self {
        let layers = self.iter().zip(&encoder.layers);
        layers
            .map(|(recorders, layer)| recorders.map(layer, function))
            .collect()
    }
}

/// The recorders of a position-wise feed-forward layer, under the names of its linear layers.
#[derive(Clone, Debug, Default)]
pub(super) struct FeedForwardRecorders<B: Backend> {
    linear_inner: Recorder<B>,
    linear_outer: Recorder<B>,
}

impl<B: Backend> LayerRecorders<PositionWiseFeedForward<B>, B> for FeedForwardRecorders<B> {
    fn new(_layer: &PositionWiseFeedForward<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &PositionWiseFeedForward<B>, function: &mut Function<'_, B>) -> Self {
        let linear_inner = Layer::linear(&layer.linear_inner);
        let linear_outer = Layer::linear(&layer.linear_outer);
        Self {
            linear_inner: function.call(&self.linear_inner, linear_inner),
            linear_outer: function.call(&self.linear_outer, linear_outer),
        }
    }
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
        forward(self, &self.recorders, input, mask_pad, mask_attn)
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
        let layers = self.layers.iter().zip(&self.recorders);
        layers.fold(tensor, |x, (layer, recorders)| {
            forward(layer, recorders, x, mask_pad.clone(), mask_attn.clone())
        })
    }
}

/// Burn's forward pass of a layer, recorded.
fn forward<B: Backend>(
    layer: &TransformerEncoderLayer<B>,
    recorders: &EncoderLayerRecorders<B>,
    x: Tensor<B, 3>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
) -> Tensor<B, 3> {
    let [batch, tokens, _] = x.dims();
    let mask_pad = fitted_padding("mask_pad", mask_pad, [batch, tokens]);
    let normalized = match layer.norm_first {
        true => layer.norm_2.forward(x.clone()),
        false => x.clone(),
    };
    let input = AttentionInput::self_attn(normalized);
    let input = masked(input, mask_pad.clone(), mask_attn);
    let context = attention::forward(&layer.mha, &recorders.mha, input).context;
    let x = x + layer.dropout.forward(context);

    let (x, normalized) = residual(x, layer.norm_first, &layer.norm_1);
    let padded = mask_pad.as_ref();
    let output = feed_forward(&layer.pwff, &recorders.pwff, normalized, padded);
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
    recorders: &FeedForwardRecorders<B>,
    input: Tensor<B, 3>,
    padded: Option<&Tensor<B, 2, Bool>>,
) -> Tensor<B, 3> {
    let x = linear(&layer.linear_inner, &recorders.linear_inner, input, padded);
    let x = layer.dropout.forward(layer.activation.forward(x));
    linear(&layer.linear_outer, &recorders.linear_outer, x, padded)
}
