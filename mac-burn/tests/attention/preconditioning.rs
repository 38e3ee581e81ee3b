//! The effect of attention's statistics on its gradients.

use crate::attention::*;
use crate::rank_one::{Gradients, expected};
use crate::support::{filled, random};
use burn::backend::Autodiff;
use burn::module::Param;
use burn::nn::Linear;
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, s};
use burn_ndarray::NdArray;
use mac_burn::{
    AttentionInput, MacConfig, MacMultiHeadAttention, MacSelfAttention, SelfAttentionConfig,
};

type F64 = Autodiff<NdArray<f64>>;

/// Sums in f64 in another order differ by rounding. A projection that is preconditioned by another mean,
/// or not at all, is off by as much as preconditioning changes.
const ROUNDING: f64 = 1e-12;

/// Below the change that preconditioning makes in each projection of these tests, which is 0.19 at least.
const EFFECT: f64 = 0.1;

/// The columns of a fused projection as a layer of its own.
fn part(qkv: &Linear<F64>, index: usize) -> Linear<F64> {
    let columns = index * SIZE..(index + 1) * SIZE;
    let weight = qkv.weight.val().slice(s![.., columns.clone()]).detach();
    let bias = qkv.bias.as_ref();
    let bias = bias.map(|bias| bias.val().slice(s![columns]).detach());
    Linear {
        weight: Param::from_tensor(weight),
        bias: bias.map(Param::from_tensor),
    }
}

/// The same attention with three projections in place of the fused one.
fn separate(fused: &MacSelfAttention<F64>) -> MacMultiHeadAttention<F64> {
    let config = MultiHeadAttentionConfig::new(SIZE, HEADS).with_dropout(0.0);
    let mut separate = config.init(&Default::default());
    separate.query = part(&fused.qkv, 0);
    separate.key = part(&fused.qkv, 1);
    separate.value = part(&fused.qkv, 2);
    separate.output = fused.output.clone();
    separate.into()
}

/// A loss that tells all outputs apart.
fn loss(output: Tensor<F64, 3>) -> Tensor<F64, 1> {
    let weights = random(output.dims(), 77);
    (output.square() * weights).sum()
}

fn assert_same_gradients(left: &Gradients, right: &Gradients, case: &str) {
    assert_close(&left.weight, &right.weight, ROUNDING, case);
    match (&left.bias, &right.bias) {
        (Some(left), Some(right)) => assert_close(left, right, ROUNDING, case),
        (left, right) => assert!(left.is_none() && right.is_none(), "{case}"),
    }
}

/// Breaks when the columns of queries, keys and values are not preconditioned as projections of their
/// own are, each by its mean.
#[test]
fn a_fused_projection_is_three_projections() {
    for (bias, padded, causal) in [
        (true, None, false),
        (true, Some(LENGTHS), true),
        (false, Some(HOLE), false),
    ] {
        let config = SelfAttentionConfig::new(SIZE, HEADS)
            .with_qkv_bias(bias)
            .with_causal(causal);
        let fused: MacSelfAttention<F64> = filled(config.init(&Default::default()), 1).into();
        let separate = separate(&fused);
        let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 2);
        let mask = || padded.map(|padded| mask_pad([BATCH, KEYS], padded));

        let output = fused.forward(tokens.clone(), mask());
        let grads = GradientsParams::from_grads(loss(output.clone()).backward(), &fused);
        let raw = Gradients::of(&grads, &fused.qkv);
        let grads = MacConfig::new()
            .init_preconditioner()
            .precondition(&fused, grads);

        let mut input = AttentionInput::self_attn(tokens);
        if let Some(mask) = mask() {
            input = input.mask_pad(mask);
        }
        if causal {
            input = input.mask_attn(mask_attn([BATCH, KEYS, KEYS], CAUSAL));
        }
        let other = separate.forward(input).context;
        let other_grads = GradientsParams::from_grads(loss(other.clone()).backward(), &separate);
        let other_grads = MacConfig::new()
            .init_preconditioner()
            .precondition(&separate, other_grads);

        let (found, expected) = (Host::of(&output).values, Host::of(&other).values);
        assert_close(&found, &expected, ROUNDING, "output");
        let qkv = Gradients::of(&grads, &fused.qkv);
        for (index, linear) in [&separate.query, &separate.key, &separate.value]
            .into_iter()
            .enumerate()
        {
            let found = qkv.columns(index * SIZE..(index + 1) * SIZE);
            let expected = Gradients::of(&other_grads, linear);
            let case = format!("part {index}, bias: {bias}, {padded:?}");
            assert_same_gradients(&found, &expected, &case);
            let raw = raw.columns(index * SIZE..(index + 1) * SIZE);
            let change = raw.difference(&found);
            assert!(change > EFFECT, "{case} changes by {change:e}");
        }
        let found = Gradients::of(&grads, &fused.output);
        assert_same_gradients(
            &found,
            &Gradients::of(&other_grads, &separate.output),
            "output",
        );
    }
}

/// The moving average of these two means after two steps with a decay of a half.
fn believed(first: &[f64], second: &[f64]) -> Vec<f64> {
    let pairs = first.iter().zip(second);
    pairs.map(|(a, b)| (0.25 * a + 0.5 * b) / 0.75).collect()
}

/// Breaks when the moving average of any projection of cross-attention, or what it does to the
/// gradients, is not the definition's.
#[test]
fn cross_attention_is_preconditioned_by_two_steps() {
    let config = MultiHeadAttentionConfig::new(SIZE, HEADS)
        .with_dropout(0.0)
        .with_quiet_softmax(true);
    let layer: MacMultiHeadAttention<F64> = filled(config.init(&Default::default()), 3).into();
    let masks = Masks {
        keys: Some(LENGTHS),
        queries: Some(LENGTHS),
        attention: Some(STRIPES),
    };
    let damping = 0.7;
    let mut preconditioner = MacConfig::new()
        .with_stat_decay(0.5)
        .with_damping(damping)
        .with_tcov(1)
        .with_tinv(1)
        .init_preconditioner();
    let linears = [&layer.query, &layer.key, &layer.value, &layer.output];

    let mut step = |seed| {
        let [query, key, value] = inputs(seed);
        let input = AttentionInput::new(query.clone(), key.clone(), value.clone());
        let output = layer.forward(masks.applied(input, QUERIES)).context;
        let grads = GradientsParams::from_grads(loss(output).backward(), &layer);
        let raw = linears.map(|linear| Gradients::of(&grads, linear));
        let grads = preconditioner.precondition(&layer, grads);
        let found = linears.map(|linear| Gradients::of(&grads, linear));

        let [query, key, values] = [query, key, value].map(|tensor| Host::of(&tensor));
        let oracle = Attention::of(&layer, [&query, &key, &values], masks, true);
        let means = [
            query.token_mean(masks.queries),
            key.token_mean(masks.keys),
            oracle.attended_mean(),
            oracle.context().token_mean(masks.queries),
        ];
        (means, raw, found)
    };
    let (first, ..) = step(10);
    let (second, raw, found) = step(20);
    for index in 0..4 {
        let mean = believed(&first[index], &second[index]);
        let expected = expected(&raw[index], &mean, damping);
        let case = format!("projection {index}");
        assert_same_gradients(&found[index], &expected, &case);
        let change = raw[index].difference(&found[index]);
        assert!(change > EFFECT, "{case} changes by {change:e}");
    }
}
