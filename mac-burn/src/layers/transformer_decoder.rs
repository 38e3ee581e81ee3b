use super::attention::{self, AttentionInput, AttentionRecorders, fitted_padding};
use super::recorded::sealed::{Function, LayerRecorders};
use super::transformer_encoder::{FeedForwardRecorders, feed_forward, masked, residual};
use super::{Recorded, RecordedLayer};
use burn::nn::transformer::{TransformerDecoder, TransformerDecoderLayer};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// Burn's [`TransformerDecoder`], recorded: self- and cross-attention as
/// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention), feed-forward layers as
/// [`MacLinear`](crate::MacLinear). Padded positions, of the target and of the memory, count in no mean.
///
/// `forward_autoregressive_inference`, for decoding token by token, is the plain decoder's and records
/// nothing.
pub type MacTransformerDecoder<B> = Recorded<TransformerDecoder<B>, B>;

/// One layer of Burn's [`TransformerDecoder`], recorded.
pub type MacTransformerDecoderLayer<B> = Recorded<TransformerDecoderLayer<B>, B>;

/// The input of a [`MacTransformerDecoder`]. It is made as Burn's `TransformerDecoderInput`, whose fields no
/// other crate can read.
#[derive(Debug, Clone)]
pub struct DecoderInput<B: Backend> {
    target: Tensor<B, 3>,
    target_mask_pad: Option<Tensor<B, 2, Bool>>,
    target_mask_attn: Option<Tensor<B, 3, Bool>>,
    memory: Tensor<B, 3>,
    memory_mask_pad: Option<Tensor<B, 2, Bool>>,
    memory_mask_attn: Option<Tensor<B, 3, Bool>>,
}

impl<B: Backend> DecoderInput<B> {
    /// An input without masks.
    ///
    /// # Shapes
    ///
    /// - target: `[batch, target_tokens, d_model]`
    /// - memory: `[batch, memory_tokens, d_model]`
    pub fn new(target: Tensor<B, 3>, memory: Tensor<B, 3>) -> Self {
        Self {
            target,
            target_mask_pad: None,
            target_mask_attn: None,
            memory,
            memory_mask_pad: None,
            memory_mask_attn: None,
        }
    }

    /// Excludes padded positions of the target from attention and from all statistics.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, target_tokens]`, or `[1, target_tokens]` for all samples, true at padded positions
    pub fn target_mask_pad(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.target_mask_pad = Some(mask);
        self
    }

    /// Excludes tokens of the target from the attention of single tokens, as a causal mask does.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, target_tokens, target_tokens]`, true where nothing is attended to
    pub fn target_mask_attn(mut self, mask: Tensor<B, 3, Bool>) -> Self {
        self.target_mask_attn = Some(mask);
        self
    }

    /// Excludes padded positions of the memory from attention and from all statistics. Where all of a sample's
    /// memory is padded, its target is excluded from the statistics of the value projection of
    /// cross-attention.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, memory_tokens]`, or `[1, memory_tokens]` for all samples, true at padded positions
    pub fn memory_mask_pad(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.memory_mask_pad = Some(mask);
        self
    }

    /// Excludes tokens of the memory from the attention of single tokens of the target.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, target_tokens, memory_tokens]`, true where nothing is attended to
    pub fn memory_mask_attn(mut self, mask: Tensor<B, 3, Bool>) -> Self {
        self.memory_mask_attn = Some(mask);
        self
    }

    /// The same with padding masks of the whole batch. They are refused by the names that they have here.
    ///
    /// # Panics
    ///
    /// If a padding mask has another shape than the tokens that it is of, or than those of one sample.
    fn fitted(mut self) -> Self {
        let [batch, target, _] = self.target.dims();
        let [_, memory, _] = self.memory.dims();
        let mask = self.target_mask_pad;
        self.target_mask_pad = fitted_padding("target_mask_pad", mask, [batch, target]);
        let mask = self.memory_mask_pad;
        self.memory_mask_pad = fitted_padding("memory_mask_pad", mask, [batch, memory]);
        self
    }
}

/// The recorders of a decoder layer, under the names of its parts.
#[derive(Clone, Debug, Default)]
pub struct DecoderLayerRecorders<B: Backend> {
    cross_attn: AttentionRecorders<B>,
    self_attn: AttentionRecorders<B>,
    pwff: FeedForwardRecorders<B>,
}

impl<B: Backend> RecordedLayer<B> for TransformerDecoderLayer<B> {
    type Recorders = DecoderLayerRecorders<B>;
}

impl<B: Backend> LayerRecorders<TransformerDecoderLayer<B>, B> for DecoderLayerRecorders<B> {
    fn new(_layer: &TransformerDecoderLayer<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &TransformerDecoderLayer<B>, function: &mut Function<'_, B>) -> Self {
        Self {
            cross_attn: self.cross_attn.map(&layer.cross_attn, function),
            self_attn: self.self_attn.map(&layer.self_attn, function),
            pwff: self.pwff.map(&layer.pwff, function),
        }
    }
}

impl<B: Backend> RecordedLayer<B> for TransformerDecoder<B> {
    type Recorders = Vec<DecoderLayerRecorders<B>>;
}

impl<B: Backend> LayerRecorders<TransformerDecoder<B>, B> for Vec<DecoderLayerRecorders<B>> {
    fn new(decoder: &TransformerDecoder<B>) -> Self {
        decoder
            .layers
            .iter()
            .map(DecoderLayerRecorders::new)
            .collect()
    }

    fn map(&self, decoder: &TransformerDecoder<B>, function: &mut Function<'_, B>) -> Self {
        let layers = self.iter().zip(&decoder.layers);
        layers
            .map(|(recorders, layer)| recorders.map(layer, function))
            .collect()
    }
}

impl<B: Backend> Recorded<TransformerDecoderLayer<B>, B> {
    /// Records and applies the layer, see [`TransformerDecoderLayer::forward`].
    ///
    /// # Shapes
    ///
    /// - output: `[batch, target_tokens, d_model]`
    ///
    /// # Panics
    ///
    /// If a padding mask has another shape than the tokens that it is of, or than those of one sample.
    pub fn forward(&self, input: DecoderInput<B>) -> Tensor<B, 3> {
        forward(self, &self.recorders, input.fitted()).target
    }
}

impl<B: Backend> Recorded<TransformerDecoder<B>, B> {
    /// Records and applies the decoder, see [`TransformerDecoder::forward`].
    ///
    /// # Shapes
    ///
    /// - output: `[batch, target_tokens, d_model]`
    ///
    /// # Panics
    ///
    /// If a padding mask has another shape than the tokens that it is of, or than those of one sample.
    pub fn forward(&self, input: DecoderInput<B>) -> Tensor<B, 3> {
        let layers = self.layers.iter().zip(&self.recorders);
        let output = layers.fold(input.fitted(), |input, (layer, recorders)| {
            forward(layer, recorders, input)
        });
        output.target
    }
}

/// Burn's forward pass of a layer, recorded: the input with another target.
fn forward<B: Backend>(
    layer: &TransformerDecoderLayer<B>,
    recorders: &DecoderLayerRecorders<B>,
    mut input: DecoderInput<B>,
) -> DecoderInput<B> {
    let x = input.target;
    let normalized = match layer.norm_first {
        true => layer.norm_3.forward(x.clone()),
        false => x.clone(),
    };
    let for_self = masked(
        AttentionInput::self_attn(normalized),
        input.target_mask_pad.clone(),
        input.target_mask_attn.clone(),
    );
    let context = attention::forward(&layer.self_attn, &recorders.self_attn, for_self).context;
    let x = x + layer.dropout.forward(context);

    let (x, normalized) = residual(x, layer.norm_first, &layer.norm_1);
    let mut for_cross = masked(
        AttentionInput::new(normalized, input.memory.clone(), input.memory.clone()),
        input.memory_mask_pad.clone(),
        input.memory_mask_attn.clone(),
    );
    if let Some(mask) = input.target_mask_pad.clone() {
        for_cross = for_cross.mask_pad_query(mask);
    }
    let context = attention::forward(&layer.cross_attn, &recorders.cross_attn, for_cross).context;
    let x = x + layer.dropout.forward(context);

    let (x, normalized) = residual(x, layer.norm_first, &layer.norm_2);
    let padded = input.target_mask_pad.as_ref();
    let output = feed_forward(&layer.pwff, &recorders.pwff, normalized, padded);
    let x = x + layer.dropout.forward(output);
    input.target = match layer.norm_first {
        true => x,
        false => layer.norm_3.forward(x),
    };
    input
}
