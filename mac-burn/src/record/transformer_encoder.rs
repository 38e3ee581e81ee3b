use super::attention_input::AttentionInput;
use super::attention_sums::Validity;
use super::layer::LayerParameters;
use super::multi_head_attention;
use super::recorded::sealed::Parameters;
use super::{Recorded, RecordedLayer, Recorder};
use burn::nn::transformer::{PositionWiseFeedForward, TransformerEncoder, TransformerEncoderLayer};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// Burn's [`TransformerEncoder`], recorded: attention as
/// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention), feed-forward layers as
/// [`MacLinear`](crate::MacLinear). Padded positions count in no mean.
pub type MacTransformerEncoder<B> = Recorded<TransformerEncoder<B>, B>;

/// One layer of Burn's [`TransformerEncoder`], recorded.
pub type MacTransformerEncoderLayer<B> = Recorded<TransformerEncoderLayer<B>, B>;

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
    /// - mask_pad: `[batch, tokens]`, true at padded positions
    /// - mask_attn: `[batch, tokens, tokens]`, true where nothing is attended to
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
    /// Records and applies the encoder, see [`TransformerEncoder::forward`]; Burn's input has fields
    /// that no other crate can read, so its parts are the arguments here.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - mask_pad: `[batch, tokens]`, true at padded positions
    /// - mask_attn: `[batch, tokens, tokens]`, true where nothing is attended to
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
        mask_attn: Option<Tensor<B, 3, Bool>>,
    ) -> Tensor<B, 3> {
        let layers = self.layers.iter().zip(self.recorders().chunks(RECORDERS));
        layers.fold(input, |x, (layer, recorders)| {
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
    let (attention, feed_forward_recorders) = recorders.split_at(multi_head_attention::RECORDERS);
    let normalized = match layer.norm_first {
        true => layer.norm_2.forward(x.clone()),
        false => x.clone(),
    };
    let input = masked(
        AttentionInput::self_attn(normalized),
        mask_pad.clone(),
        mask_attn,
    );
    let context = multi_head_attention::forward(&layer.mha, attention, input).context;
    let x = x + layer.dropout.forward(context);

    let (x, normalized) = residual(x, layer.norm_first, |x| layer.norm_1.forward(x));
    let output = feed_forward(
        &layer.pwff,
        feed_forward_recorders,
        normalized,
        mask_pad.as_ref(),
    );
    let x = x + layer.dropout.forward(output);
    match layer.norm_first {
        true => x,
        false => layer.norm_2.forward(x),
    }
}

/// The main path and the input of the next residual path: the norm is on one of them or on both.
pub(super) fn residual<B: Backend>(
    x: Tensor<B, 3>,
    norm_first: bool,
    norm: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>,
) -> (Tensor<B, 3>, Tensor<B, 3>) {
    if norm_first {
        (x.clone(), norm(x))
    } else {
        let x = norm(x);
        (x.clone(), x)
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
    mask_pad: Option<&Tensor<B, 2, Bool>>,
) -> Tensor<B, 3> {
    let valid = mask_pad.map(|mask| Validity::of_mask(mask, &input));
    recorders[0].record_tokens(&layer.linear_inner, &input, valid.as_ref());
    let x = layer.linear_inner.forward(input);
    let x = layer.dropout.forward(layer.activation.forward(x));
    recorders[1].record_tokens(&layer.linear_outer, &x, valid.as_ref());
    layer.linear_outer.forward(x)
}
