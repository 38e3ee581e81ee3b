//! Attention at its edges: nothing but padding, dropout, frozen projections.

use crate::attention::*;
use crate::support::{filled, random};
use burn::module::{Module, Param};
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::tensor::{Int, Tensor, s};
use mac_burn::{
    AttentionInput, MacConfig, MacMultiHeadAttention, MacSelfAttention, SelfAttentionConfig,
};

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
    let output = layer.forward(AttentionInput::self_attn(tokens.clone()));
    backward(output.context);
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
    backward(layer.forward(tokens, None));
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
            backward(output.context);
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

/// Breaks when a batch without a mean is taken for a broken one, or changes an average; or when one that is
/// broken is taken for padding. Both projections see it, the fused one by two means.
#[test]
fn a_batch_of_padding_is_left_out_and_not_broken() {
    let layer = fused(false);
    let config = MacConfig::new().with_tcov(1).with_tinv(1);
    let mut preconditioner = config.init_preconditioner();
    let tokens = random::<F64, 3>([BATCH, KEYS, SIZE], 11);
    let mut step = |tokens: Tensor<F64, 3>, padded: Padded| {
        backward(layer.forward(tokens, Some(mask_pad([BATCH, KEYS], padded))));
        preconditioner.precondition(&layer, ones(&layer));
        let report = preconditioner.report(&layer);
        let counts = report.layers.iter().map(|row| (row.updates, row.rejected));
        let averages = [&layer.qkv, &layer.output].map(|linear| {
            let ema = preconditioner.activation_ema(linear.weight.id);
            ema.expect("it recorded").into_data()
        });
        (counts.collect::<Vec<_>>(), averages)
    };
    let (_, before) = step(tokens.clone(), LENGTHS);
    let (counts, after) = step(tokens.clone(), |_, _| true);
    assert_eq!(counts, [(2, 0), (2, 0)]);
    assert_eq!(after, before);
    let (counts, after) = step(tokens * f64::NAN, LENGTHS);
    assert_eq!(counts, [(3, 1), (3, 1)]);
    assert_eq!(after, before);
}

/// Breaks when the queries of a sample without memory count for the value projection: they attend to padding, which
/// is not that of the other samples' values. Without the sample the value projection has the same mean.
#[test]
fn a_sample_without_memory_counts_in_no_mean_of_values() {
    let without_memory: Padded = |sample, position| sample == 1 || position + sample > 4;
    for quiet in [false, true] {
        for queries in [None, Some(LENGTHS)] {
            let layer = multi_head(quiet);
            let masks = Masks {
                keys: Some(without_memory),
                queries,
                attention: None,
            };
            let [query, key, value] = inputs(12);
            let input = AttentionInput::new(query.clone(), key.clone(), value.clone());
            backward(layer.forward(masks.applied(input, QUERIES)).context);
            let found = means_of(&layer);
            let case = format!("quiet: {quiet}, {queries:?}");

            let [query, key, values] = [query, key, value].map(|tensor| Host::of(&tensor));
            let oracle = Attention::of(&layer, [&query, &key, &values], masks, quiet);
            assert_close(&found[2], &oracle.attended_mean(), ROUNDING, &case);
            // The other projections see the sample: its queries, and what attention made of padding.
            assert_close(&found[0], &query.token_mean(queries), ROUNDING, &case);
            let context = oracle.context().token_mean(queries);
            assert_close(&found[3], &context, ROUNDING, &case);

            let others: Tensor<F64, 1, Int> = Tensor::from_ints([0, 2], &Default::default());
            let tensors = inputs::<F64>(12).map(|tensor| tensor.select(0, others.clone()));
            let [query, key, value] = tensors;
            let mask = |padded, tokens| mask_pad([BATCH, tokens], padded).select(0, others.clone());
            let mut input = AttentionInput::new(query, key, value);
            input = input.mask_pad(mask(without_memory, KEYS));
            if let Some(padded) = queries {
                input = input.mask_pad_query(mask(padded, QUERIES));
            }
            backward(layer.forward(input).context);
            assert_close(&found[2], &means_of(&layer)[2], ROUNDING, &case);
        }
    }
}

/// Breaks when a batch of which no sample has memory counts, or leaves a NaN.
#[test]
fn a_batch_without_memory_adds_nothing_to_the_mean_of_values() {
    let layer = multi_head(false);
    let run = |padded: Option<Padded>| {
        let [query, key, value] = inputs(13);
        let mut input = AttentionInput::new(query, key, value);
        if let Some(padded) = padded {
            input = input.mask_pad(mask_pad([BATCH, KEYS], padded));
        }
        backward(layer.forward(input).context);
    };
    run(None);
    let expected = means_of(&layer);
    run(None);
    run(Some(|_, _| true));
    assert_eq!(means_of(&layer)[2], expected[2]);
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
    backward(output);
    let preconditioner = observed(&layer);
    let found = means(&preconditioner, &layer.qkv.weight);
    let expected = Host::of(&tokens).token_mean(Some(left));
    assert_close(&found[..=SIZE], &expected, ROUNDING, "tokens");
    let kept = &found[2 * SIZE + 1..];
    assert_close(kept, &[1.0], ROUNDING, "all attention of valid tokens");
}

/// Breaks when a frozen projection records, or keeps the others from it. Gradients flow back through it to its input, and
/// the step has one of its weight, so that what it recorded would be seen.
#[test]
fn a_frozen_projection_records_nothing() {
    let mut frozen = multi_head(false).into_inner();
    frozen.value = frozen.value.no_grad();
    let frozen: MacMultiHeadAttention<F64> = frozen.into();
    let tokens = random::<F64, 3>([BATCH, KEYS, SIZE], 8).require_grad();
    backward(frozen.forward(AttentionInput::self_attn(tokens)).context);
    let mut preconditioner = MacConfig::new().init_preconditioner();
    let (mut grads, weight) = (ones(&frozen), &frozen.value.weight);
    grads.register(weight.id, weight.val().inner().ones_like());
    preconditioner.precondition(&frozen, grads);
    let recorded =
        |weight: &Param<Tensor<F64, 2>>| preconditioner.activation_ema(weight.id).is_some();
    assert!(!recorded(&frozen.value.weight));
    assert!(recorded(&frozen.key.weight));
}
