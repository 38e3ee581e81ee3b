use super::attention_input::AttentionInput;
use super::multi_head_attention;
use super::recorded::sealed::Parameters;
use super::transformer_encoder::{
    FEED_FORWARD_RECORDERS, feed_forward, feed_forward_parameters, masked, residual,
};
use super::{Recorded, RecordedLayer, Recorder};
use burn::nn::transformer::{TransformerDecoder, TransformerDecoderLayer};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// Burn's [`TransformerDecoder`], recorded: self- and cross-attention as
/// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention), feed-forward layers as
/// [`MacLinear`](crate::MacLinear). Padded positions count in no mean.
pub type MacTransformerDecoder<B> = Recorded<TransformerDecoder<B>, B>;

/// One layer of Burn's [`TransformerDecoder`], recorded.
pub type MacTransformerDecoderLayer<B> = Recorded<TransformerDecoderLayer<B>, B>;

/// The recorders of a layer: cross-attention, self-attention, feed-forward.
const RECORDERS: usize = 2 * multi_head_attention::RECORDERS + FEED_FORWARD_RECORDERS;

/// What a recorded decoder takes, see Burn's `TransformerDecoderInput`, whose fields no other crate
/// can read.
#[derive(Debug, Clone)]
pub struct DecoderInput<B: Backend> {
    /// `[batch, target_tokens, d_model]`
    pub target: Tensor<B, 3>,
    /// `[batch, target_tokens]`, true at padded positions.
    pub target_mask_pad: Option<Tensor<B, 2, Bool>>,
    /// `[batch, target_tokens, target_tokens]`, true where nothing is attended to.
    pub target_mask_attn: Option<Tensor<B, 3, Bool>>,
    /// `[batch, memory_tokens, d_model]`
    pub memory: Tensor<B, 3>,
    /// `[batch, memory_tokens]`, true at padded positions.
    pub memory_mask_pad: Option<Tensor<B, 2, Bool>>,
    /// `[batch, target_tokens, memory_tokens]`, true where nothing is attended to.
    pub memory_mask_attn: Option<Tensor<B, 3, Bool>>,
}

impl<B: Backend> DecoderInput<B> {
    /// An input without masks.
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
}

impl<B: Backend> RecordedLayer<B> for TransformerDecoderLayer<B> {
    fn parameters(&self) -> Vec<Parameters> {
        let mut parameters = self.cross_attn.parameters();
        parameters.extend(self.self_attn.parameters());
        parameters.extend(feed_forward_parameters(&self.pwff));
        parameters
    }
}

impl<B: Backend> RecordedLayer<B> for TransformerDecoder<B> {
    fn parameters(&self) -> Vec<Parameters> {
        self.layers
            .iter()
            .flat_map(RecordedLayer::parameters)
            .collect()
    }
}

impl<B: Backend> Recorded<TransformerDecoderLayer<B>, B> {
    /// Records and applies the layer, see [`TransformerDecoderLayer::forward`].
    ///
    /// # Shapes
    ///
    /// - output: `[batch, target_tokens, d_model]`
    pub fn forward(&self, input: DecoderInput<B>) -> Tensor<B, 3> {
        forward(self, self.recorders(), input)
    }
}

impl<B: Backend> Recorded<TransformerDecoder<B>, B> {
    /// Records and applies the decoder, see [`TransformerDecoder::forward`].
    ///
    /// # Shapes
    ///
    /// - output: `[batch, target_tokens, d_model]`
    pub fn forward(&self, mut input: DecoderInput<B>) -> Tensor<B, 3> {
        for (layer, recorders) in self.layers.iter().zip(self.recorders().chunks(RECORDERS)) {
            input.target = forward(layer, recorders, input.clone());
        }
        input.target
    }
}

/// Burn's forward pass of a layer, recorded.
fn forward<B: Backend>(
    layer: &TransformerDecoderLayer<B>,
    recorders: &[Recorder<B>],
    input: DecoderInput<B>,
) -> Tensor<B, 3> {
    let (cross_attention, recorders) = recorders.split_at(multi_head_attention::RECORDERS);
    let (self_attention, feed_forward_recorders) =
        recorders.split_at(multi_head_attention::RECORDERS);
    let target_pad = input.target_mask_pad;

    let x = input.target;
    let normalized = match layer.norm_first {
        true => layer.norm_3.forward(x.clone()),
        false => x.clone(),
    };
    let attention = masked(
        AttentionInput::self_attn(normalized),
        target_pad.clone(),
        input.target_mask_attn,
    );
    let context =
        multi_head_attention::forward(&layer.self_attn, self_attention, attention).context;
    let x = x + layer.dropout.forward(context);

    let (x, normalized) = residual(x, layer.norm_first, |x| layer.norm_1.forward(x));
    let mut attention = masked(
        AttentionInput::new(normalized, input.memory.clone(), input.memory),
        input.memory_mask_pad,
        input.memory_mask_attn,
    );
    if let Some(mask) = target_pad.clone() {
        attention = attention.mask_pad_query(mask);
    }
    let context =
        multi_head_attention::forward(&layer.cross_attn, cross_attention, attention).context;
    let x = x + layer.dropout.forward(context);

    let (x, normalized) = residual(x, layer.norm_first, |x| layer.norm_2.forward(x));
    let output = feed_forward(
        &layer.pwff,
        feed_forward_recorders,
        normalized,
        target_pad.as_ref(),
    );
    let x = x + layer.dropout.forward(output);
    match layer.norm_first {
        true => x,
        false => layer.norm_3.forward(x),
    }
}
