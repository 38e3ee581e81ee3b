//! Attention at its edges: nothing but padding, dropout, frozen projections.

#[path = "support/attention.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod attention;
mod support;

use attention::*;
use burn::module::{Module, Param};
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::tensor::{Tensor, s};
use mac_burn::{AttentionInput, MacMultiHeadAttention, MacSelfAttention, SelfAttentionConfig};
use support::{filled, random};

/// Sums in f64 in another order differ by rounding; a padded token that counts, or a dropped probability,
/// shows at 1e-2.
const ROUNDING: f64 = 1e-12;

/// `[v̄ ; Σ ᾱ]` through a value projection, weight `[size, outputs]`.
fn projected(attended: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let outputs = bias.len();
    let output = |column| {
        let rows = weight.chunks(outputs).chain([bias]);
        rows.zip(attended)
            .map(|(row, mean)| row[column] * mean)
            .sum()
    };
    (0..outputs).map(output).chain([1.0]).collect()
}

/// Breaks when other probabilities are recorded than those that dropout left. With one sample and one head
/// the product of averages is the average of products, so the value projection makes of its mean what the
/// output projection sees on average.
#[test]
fn the_probabilities_are_those_that_dropout_left() {
    let tokens = random::<F64, 3>([1, KEYS, SIZE], 10);
    let config = MultiHeadAttentionConfig::new(SIZE, 1).with_dropout(0.4);
    let layer = filled(config.init(&Default::default()), 3);
    let layer: MacMultiHeadAttention<F64> = layer.into();
    layer.forward(AttentionInput::self_attn(tokens.clone()));
    let [_, _, attended, output] = means_of(&layer);
    let (weight, bias) = (&layer.value.weight, layer.value.bias.as_ref());
    let bias = bias.expect("it has a bias").val();
    let expected = projected(
        &attended,
        &Host::of(&weight.val()).values,
        &Host::of(&bias).values,
    );
    assert_close(&output, &expected, ROUNDING, "scores");

    let config = SelfAttentionConfig::new(SIZE, 1).with_dropout(0.4);
    let layer: MacSelfAttention<F64> = filled(config.init(&Default::default()), 4).into();
    layer.forward(tokens, None);
    let preconditioner = observed(&layer);
    let attended = means(&preconditioner, &layer.qkv.weight).split_off(SIZE + 1);
    // Scaled by 1 / 0.6 what is left of five probabilities does not add up to 1.
    assert!((attended[SIZE] - 1.0).abs() > 1e-6);
    let weight = layer.qkv.weight.val().slice(s![.., 2 * SIZE..]);
    let bias = layer.qkv.bias.as_ref().expect("it has a bias").val();
    let bias = bias.slice(s![2 * SIZE..]);
    let expected = projected(
        &attended,
        &Host::of(&weight).values,
        &Host::of(&bias).values,
    );
    let output = means(&preconditioner, &layer.output.weight);
    assert_close(&output, &expected, ROUNDING, "probabilities");
}

/// Breaks when a sample, or a batch, that is all padding leaves a NaN or counts.
#[test]
fn all_padding_is_no_statistic() {
    let everything: Padded = |_, _| true;
    let one_sample: Padded = |sample, _| sample == 1;
    let tokens = random::<F64, 3>([BATCH, KEYS, SIZE], 7);
    let run =
        |layer: &MacMultiHeadAttention<F64>, tokens: Tensor<F64, 3>, padded: Option<Padded>| {
            let mut input = AttentionInput::self_attn(tokens.clone());
            if let Some(padded) = padded {
                input = input.mask_pad(mask_pad([tokens.dims()[0], KEYS], padded));
            }
            let output = layer.forward(input);
            assert!(output.context.to_data().iter::<f64>().all(f64::is_finite));
        };
    let layer = multi_head(false);
    run(&layer, tokens.clone(), Some(one_sample));
    let found = means_of(&layer);
    let others = Tensor::cat(
        vec![
            tokens.clone().slice(s![0..1]),
            tokens.clone().slice(s![2..3]),
        ],
        0,
    );
    run(&layer, others, None);
    for (found, expected) in found.iter().zip(&means_of(&layer)) {
        assert_close(found, expected, ROUNDING, "one sample is padding");
    }

    // A whole micro-batch of padding adds nothing to the others.
    run(&layer, tokens.clone(), None);
    let expected = means_of(&layer);
    run(&layer, tokens.clone(), None);
    run(&layer, tokens, Some(everything));
    assert_eq!(means_of(&layer), expected);
}

/// Breaks when a token that has nothing to attend to, as one of padding before a causal sequence, makes a
/// NaN or counts.
#[test]
fn padding_at_the_left_of_a_causal_sequence_is_no_statistic() {
    let left: Padded = |sample, position| position < sample;
    let tokens = random::<F64, 3>([BATCH, KEYS, SIZE], 9);
    let layer = fused(true);
    let output = layer.forward(tokens.clone(), Some(mask_pad([BATCH, KEYS], left)));
    assert!(output.to_data().iter::<f64>().all(f64::is_finite));
    let preconditioner = observed(&layer);
    let found = means(&preconditioner, &layer.qkv.weight);
    let expected = Host::of(&tokens).token_mean(Some(left));
    assert_close(&found[..=SIZE], &expected, ROUNDING, "tokens");
    let kept = &found[2 * SIZE + 1..];
    assert_close(kept, &[1.0], ROUNDING, "all attention of valid tokens");
}

/// Breaks when a frozen projection records, or keeps the others from it.
#[test]
fn a_frozen_projection_records_nothing() {
    let mut frozen = multi_head(false).into_inner();
    frozen.value = frozen.value.no_grad();
    let frozen: MacMultiHeadAttention<F64> = frozen.into();
    frozen.forward(AttentionInput::self_attn(random([BATCH, KEYS, SIZE], 8)));
    let preconditioner = observed(&frozen);
    let recorded =
        |weight: &Param<Tensor<F64, 2>>| preconditioner.activation_ema(weight.id).is_some();
    assert!(!recorded(&frozen.value.weight));
    assert!(recorded(&frozen.key.weight));
}
