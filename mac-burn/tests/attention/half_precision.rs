//! Attention in half precision: its statistics are those of its half-precision probabilities and inputs, in `f32`.

use crate::attention::{
    Host, Masked, Masks, Padded, assert_close, attended_mean, mask_attn, mask_pad,
};
use crate::attention::{backward, means, observed};
use crate::support::{filled, random};
use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;
use mac_burn::{
    AttentionInput, MacMultiHeadAttention, MacPreconditioner, MacSelfAttention, SelfAttentionConfig,
};

/// Of the backends of these tests only this one has half precision.
type B = Autodiff<Flex>;

const BATCH: usize = 6;
const TOKENS: usize = 24;
const SIZE: usize = 8;
const HEADS: usize = 2;

/// Samples of different lengths, one of them all padding.
const LENGTHS: Padded = |sample, position| sample == 2 || position + 3 * sample > 20;

/// A token attends to itself and to those before it.
const CAUSAL: Masked = |_, query, key| key > query;

/// A mean of some hundred numbers of about 1 is off by 1e-6 if it is summed up in `f32`. If it is rounded to
/// half precision it is off by 1e-4, and if it is summed up in it by more.
const ROUNDING: f64 = 1e-5;

const MASKS: [Masks; 4] = [
    masks(None, None),
    masks(Some(LENGTHS), None),
    masks(None, Some(CAUSAL)),
    masks(Some(LENGTHS), Some(CAUSAL)),
];

const fn masks(padded: Option<Padded>, attention: Option<Masked>) -> Masks {
    Masks {
        keys: padded,
        queries: padded,
        attention,
    }
}

struct Cast(DType);

impl<B: Backend> ModuleMapper<B> for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| tensor.cast(self.0).detach().require_grad())
    }
}

fn tokens(dtype: DType) -> Tensor<B, 3> {
    random([BATCH, TOKENS, SIZE], 1).cast(dtype)
}

fn multi_head(dtype: DType) -> MacMultiHeadAttention<B> {
    let config = MultiHeadAttentionConfig::new(SIZE, HEADS).with_dropout(0.0);
    let layer = filled(config.init::<B>(&Default::default()), 2);
    layer.map(&mut Cast(dtype)).into()
}

fn fused(dtype: DType, causal: bool) -> MacSelfAttention<B> {
    let config = SelfAttentionConfig::new(SIZE, HEADS).with_causal(causal);
    let layer = filled(config.init::<B>(&Default::default()), 3);
    layer.map(&mut Cast(dtype)).into()
}

/// The mean that a layer recorded is kept in `f32` and is this one.
fn check(preconditioner: &MacPreconditioner<B>, layer: &Linear<B>, expected: &[f64], case: &str) {
    let ema = preconditioner.activation_ema(layer.weight.id);
    assert_eq!(ema.map(|ema| ema.dtype()), Some(DType::F32), "{case}");
    let found = means(preconditioner, &layer.weight);
    assert_close(&found, expected, ROUNDING, case);
}

/// `[batch, tokens, size]` to `[batch, heads, tokens, size / heads]`.
fn heads(tokens: Tensor<B, 3>) -> Tensor<B, 4> {
    tokens
        .reshape([BATCH, TOKENS, HEADS, SIZE / HEADS])
        .swap_dims(1, 2)
}

/// The input of the output projection.
fn context(probabilities: &Tensor<B, 4>, values: Tensor<B, 3>) -> Tensor<B, 3> {
    let context = probabilities.clone().matmul(heads(values));
    context.swap_dims(1, 2).reshape([BATCH, TOKENS, SIZE])
}

/// Breaks when tokens or probabilities under masks are summed up, or a mean is kept, in half precision.
#[test]
fn masked_attention_is_recorded_in_f32() {
    for dtype in [DType::F16, DType::BF16] {
        for masks in MASKS {
            let layer = multi_head(dtype);
            let tokens = tokens(dtype);
            let mut input = AttentionInput::self_attn(tokens.clone());
            if let Some(padded) = masks.keys {
                input = input.mask_pad(mask_pad([BATCH, TOKENS], padded));
            }
            if let Some(masked) = masks.attention {
                input = input.mask_attn(mask_attn([BATCH, TOKENS, TOKENS], masked));
            }
            let output = layer.forward(input);
            assert_eq!(output.weights.dtype(), dtype);
            assert_eq!(output.context.dtype(), dtype);

            let case = format!("{dtype:?}, {masks:?}");
            let context = context(&output.weights, layer.value.forward(tokens.clone()));
            let (probabilities, tokens) = (Host::of(&output.weights), Host::of(&tokens));
            backward(output.context);
            let preconditioner = observed(&layer);
            let mean = tokens.token_mean(masks.keys);
            check(&preconditioner, &layer.query, &mean, &case);
            check(&preconditioner, &layer.key, &mean, &case);
            let mean = attended_mean(&probabilities, &tokens, masks);
            check(&preconditioner, &layer.value, &mean, &case);
            let mean = Host::of(&context).token_mean(masks.queries);
            check(&preconditioner, &layer.output, &mean, &case);
        }
    }
}

/// The probabilities of the fused layer by its operations, so that they round as its own do.
fn probabilities(query: Tensor<B, 3>, key: Tensor<B, 3>, masks: Masks) -> Tensor<B, 4> {
    let scale = ((SIZE / HEADS) as f64).sqrt().recip();
    let scores = heads(query).matmul(heads(key).transpose());
    let mut scores = scores.mul_scalar(scale);
    if let Some(masked) = masks.attention {
        let mask = mask_attn::<B>([1, TOKENS, TOKENS], masked);
        scores = scores.mask_fill(mask.unsqueeze_dim(1), -1e4);
    }
    if let Some(padded) = masks.keys {
        let mask = mask_pad::<B>([BATCH, TOKENS], padded);
        scores = scores.mask_fill(mask.reshape([BATCH, 1, 1, TOKENS]), -1e4);
    }
    softmax(scores, 3)
}

/// Breaks when either mean of the fused projection is summed up or kept in half precision.
#[test]
fn fused_attention_is_recorded_in_f32() {
    for dtype in [DType::F16, DType::BF16] {
        for masks in MASKS {
            let layer = fused(dtype, masks.attention.is_some());
            let tokens = tokens(dtype);
            let mask = masks.keys.map(|padded| mask_pad([BATCH, TOKENS], padded));
            let output = layer.forward(tokens.clone(), mask);
            assert_eq!(output.dtype(), dtype);

            let case = format!("{dtype:?}, {masks:?}");
            let parts = layer.qkv.forward(tokens.clone()).chunk(3, 2);
            let [query, key, values] = [0, 1, 2].map(|part| parts[part].clone());
            let probabilities = probabilities(query, key, masks);
            let context = context(&probabilities, values);
            let (probabilities, tokens) = (Host::of(&probabilities), Host::of(&tokens));
            backward(output);
            let preconditioner = observed(&layer);
            let mut both = tokens.token_mean(masks.keys);
            both.extend(attended_mean(&probabilities, &tokens, masks));
            check(&preconditioner, &layer.qkv, &both, &case);
            let mean = Host::of(&context).token_mean(masks.queries);
            check(&preconditioner, &layer.output, &mean, &case);
        }
    }
}

/// Breaks when probabilities or values are summed in half precision: adding 1/64 to 128 changes nothing
/// there. Tokens that are all the same are attended to alike, and their mean is exact.
#[test]
fn many_equal_tokens_have_their_value_as_the_mean() {
    for dtype in [DType::F16, DType::BF16] {
        let layer = multi_head(dtype);
        let tokens = Tensor::full([64, 64, SIZE], 1.5, (&Default::default(), dtype));
        backward(layer.forward(AttentionInput::self_attn(tokens)).context);
        let preconditioner = observed(&layer);
        let mut expected = vec![1.5; SIZE];
        expected.push(1.0);
        for linear in [&layer.query, &layer.key, &layer.value] {
            assert_eq!(means(&preconditioner, &linear.weight), expected);
        }
    }
}
