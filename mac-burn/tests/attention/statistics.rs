//! The statistics of attention against their definition.

use crate::attention::*;
use crate::rank_one::{Gradients, expected};
use crate::support::random;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, s};
use mac_burn::spectrum::{InputPart, Spectrum};
use mac_burn::{
    AttendedValues, AttentionInput, MacConfig, MacLinear, MacMultiHeadAttention, MacSelfAttention,
    Recorder,
};

/// Sums in f64 in another order differ by rounding. One probability, token or count more or less, or a
/// mean over the wrong positions, shows at 1e-3.
const ROUNDING: f64 = 1e-12;

/// Below the difference that the other mean of a projection makes in gradients of 0.1 to 0.5, which is 8e-3 at least.
const EFFECT: f64 = 1e-3;

/// Breaks when a projection records another mean than its input's, or counts a padded position.
fn check_multi_head([query, key, value]: [Tensor<F64, 3>; 3], masks: Masks, quiet: bool) {
    let layer = multi_head(quiet);
    let input = AttentionInput::new(query.clone(), key.clone(), value.clone());
    let output = layer.forward(masks.applied(input, query.dims()[1]));
    let [query, key, values] = [query, key, value].map(|tensor| Host::of(&tensor));
    let oracle = Attention::of(&layer, [&query, &key, &values], masks, quiet);
    let case = format!("{masks:?}, quiet: {quiet}");
    let weights = Host::of(&output.weights).values;
    assert_close(
        &weights,
        &oracle.probabilities().values,
        ROUNDING,
        &format!("weights, {case}"),
    );
    backward(output.context);
    let expected = [
        ("query", query.token_mean(masks.queries)),
        ("key", key.token_mean(masks.keys)),
        ("value", oracle.attended_mean()),
        ("output", oracle.context().token_mean(masks.queries)),
    ];
    let observed = observed(&layer);
    for (mean, (name, expected)) in means_in(&observed, &layer).iter().zip(&expected) {
        assert_close(mean, expected, ROUNDING, &format!("{name}, {case}"));
    }
    let bias_sees = expected[2].1[SIZE];
    // The squares of values in the same mean as the values.
    let mut of_squares = oracle;
    for value in &mut of_squares.values.values {
        *value *= *value;
    }
    let square: f64 = of_squares.attended_mean()[..SIZE].iter().sum();
    let norm: f64 = expected[2].1.iter().map(|mean| mean * mean).sum();
    let report = observed.report(&layer);
    let share = report.layers[2].mean_share.expect("it recorded");
    let expected = norm / (square + bias_sees);
    assert_close(&[share], &[expected], ROUNDING, &format!("share, {case}"));
    assert_eq!(bias_sees < 0.999, quiet, "{case}");
}

#[test]
fn cross_attention_records_the_definition() {
    for (seed, masks) in Masks::all().into_iter().enumerate() {
        for quiet in [false, true] {
            check_multi_head(inputs(10 * seed as u64), masks, quiet);
        }
    }
}

/// With a quiet softmax probabilities add up to less than 1. Breaks when the mean of attended inputs is weighted by these sums, or a
/// bias sees 1 in each row.
#[test]
fn the_spectrum_of_attended_inputs_has_their_mean() {
    let layer = multi_head(true);
    let [query, key, values] = inputs::<F64>(3);
    let spectrum = Spectrum::of(&layer, |layer| {
        let input = AttentionInput::new(query.clone(), key.clone(), values.clone());
        layer.forward(input);
    });
    let found = spectrum.layers.iter();
    let found = found.filter(|layer| layer.part == InputPart::Attended);
    let [found] = &found.collect::<Vec<_>>()[..] else {
        panic!("there is one: {spectrum}");
    };

    let [query, key, values] = [query, key, values].map(|tensor| Host::of(&tensor));
    let oracle = Attention::of(&layer, [&query, &key, &values], Masks::default(), true);
    let probabilities = oracle.probabilities().values;
    let rows: Vec<Vec<f64>> = probabilities
        .chunks(KEYS)
        .enumerate()
        .map(|(row, attended)| {
            let sample = row / (HEADS * QUERIES);
            let value =
                |key: usize, column: usize| values.values[(sample * KEYS + key) * SIZE + column];
            let of_column = |column| {
                (0..KEYS)
                    .map(|key| attended[key] * value(key, column))
                    .sum()
            };
            let seen_by_bias = attended.iter().sum();
            (0..SIZE).map(of_column).chain([seen_by_bias]).collect()
        })
        .collect();
    let count = rows.len() as f64;
    let mean = (0..=SIZE).map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / count);
    let norm: f64 = mean.map(|mean| mean * mean).sum();
    let trace = rows
        .iter()
        .flatten()
        .map(|value| value * value)
        .sum::<f64>()
        / count;
    assert_eq!(found.size, SIZE + 1);
    let sum: f64 = found.eigenvalues.iter().sum();
    assert_close(
        &[sum, found.mean_share],
        &[trace, norm / trace],
        1e-9,
        "attended",
    );
}

/// Breaks when self-attention does not take its padded keys for padded queries.
#[test]
fn self_attention_records_the_definition() {
    for keys in [None, Some(LENGTHS), Some(HOLE)] {
        for attention in [None, Some(CAUSAL), Some(STRIPES)] {
            let masks = Masks {
                keys,
                queries: keys,
                attention,
            };
            let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 3);
            for quiet in [false, true] {
                check_multi_head([0, 1, 2].map(|_| tokens.clone()), masks, quiet);
            }
            let layer = multi_head(false);
            let of_keys = Masks {
                queries: None,
                ..masks
            };
            let input = of_keys.applied(AttentionInput::self_attn(tokens.clone()), KEYS);
            backward(layer.forward(input).context);
            let found = means_of(&layer);
            let apart = AttentionInput::new(tokens.clone(), tokens.clone(), tokens);
            backward(layer.forward(masks.applied(apart, KEYS)).context);
            assert_eq!(found, means_of(&layer));
        }
    }
}

/// Breaks when a mask of queries takes the place of that of the keys, which are the queries.
#[test]
fn self_attention_counts_what_neither_mask_pads() {
    let layer = multi_head(false);
    let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 5);
    let masked = |input: AttentionInput<F64>, queries: Padded| {
        let input = input.mask_pad(mask_pad([BATCH, KEYS], HOLE));
        let input = input.mask_pad_query(mask_pad([BATCH, KEYS], queries));
        backward(layer.forward(input).context);
        means_of(&layer)
    };
    let found = masked(AttentionInput::self_attn(tokens.clone()), LENGTHS);
    let apart = || AttentionInput::new(tokens.clone(), tokens.clone(), tokens.clone());
    let either = |sample, token| LENGTHS(sample, token) || HOLE(sample, token);
    assert_eq!(found, masked(apart(), either));
    assert_ne!(found, masked(apart(), LENGTHS));
}

/// Breaks when the fused projection mixes up its means or their order, or its masks.
#[test]
fn fused_attention_records_the_definition() {
    for causal in [false, true] {
        for padded in [None, Some(LENGTHS), Some(HOLE)] {
            let layer = fused(causal);
            let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 4);
            let mask = padded.map(|padded| mask_pad([BATCH, KEYS], padded));
            backward(layer.forward(tokens.clone(), mask));
            let masks = Masks {
                keys: padded,
                queries: padded,
                attention: causal.then_some(CAUSAL),
            };
            let case = format!("causal: {causal}, {padded:?}");
            check_fused(&layer, &tokens, (masks, false), &case);
        }
    }
}

/// Breaks when a bias is added to the scores of another sample, is not what the probabilities were made
/// with, or takes uncounted tokens out of the attention; or when these count in a mean.
#[test]
fn biased_attention_records_the_definition() {
    for (biases, attention) in [(1, CAUSAL), (BATCH, STRIPES)] {
        for uncounted in [None, Some(LENGTHS), Some(HOLE)] {
            let layer = fused(false);
            let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 7);
            let (bias, mask) = (
                score_bias(biases, attention),
                uncounted.map(|uncounted| mask_pad([BATCH, KEYS], uncounted)),
            );
            backward(layer.forward_biased(tokens.clone(), bias, mask));
            let masks = Masks {
                keys: uncounted,
                queries: uncounted,
                attention: Some(attention),
            };
            let case = format!("{biases} biases, {uncounted:?}");
            check_fused(&layer, &tokens, (masks, true), &case);
        }
    }
}

/// Compares the means of both projections with those of tokens under masks, whose padded keys may be
/// attended to.
fn check_fused(
    layer: &MacSelfAttention<F64>,
    tokens: &Tensor<F64, 3>,
    (masks, attends_padded): (Masks, bool),
    case: &str,
) {
    let projected = |part: usize| {
        let mut linear = layer.qkv.clone();
        let columns = part * SIZE..(part + 1) * SIZE;
        linear.weight = linear
            .weight
            .map(|weight| weight.slice(s![.., columns.clone()]));
        linear.bias = linear
            .bias
            .map(|bias| bias.map(|bias| bias.slice(s![columns])));
        Host::of(tokens).through(&linear)
    };
    let oracle = Attention {
        query: projected(0),
        key: projected(1),
        projected_values: projected(2),
        values: Host::of(tokens),
        heads: HEADS,
        masks,
        attends_padded,
        quiet: false,
    };
    let preconditioner = observed(layer);
    let mut expected = Host::of(tokens).token_mean(masks.queries);
    expected.extend(oracle.attended_mean());
    let found = means(&preconditioner, &layer.qkv.weight);
    assert_close(&found, &expected, ROUNDING, case);
    let found = means(&preconditioner, &layer.output.weight);
    let expected = oracle.context().token_mean(masks.queries);
    assert_close(&found, &expected, ROUNDING, case);
}

/// The tokens with others in place of the padded ones.
fn repadded(tokens: &Tensor<F64, 3>, padded: Padded) -> Tensor<F64, 3> {
    let mask = mask_pad::<F64>([BATCH, KEYS], padded).unsqueeze_dim::<3>(2);
    let others = random::<F64, 3>([BATCH, KEYS, SIZE], 99) * 1e3;
    let repadded = tokens
        .clone()
        .mask_where(mask.expand(tokens.shape()), others);
    assert_ne!(Host::of(&repadded).values, Host::of(tokens).values);
    repadded
}

/// Breaks when any mean looks at a padded token: bitwise, since its weight in all sums is 0.
#[test]
fn what_padded_tokens_hold_changes_nothing() {
    for padded in [LENGTHS, HOLE] {
        let tokens = random([BATCH, KEYS, SIZE], 5);
        let others = repadded(&tokens, padded);
        let mask = || mask_pad([BATCH, KEYS], padded);

        let found = [&tokens, &others].map(|tokens| {
            let layer = multi_head(false);
            let input = AttentionInput::self_attn(tokens.clone()).mask_pad(mask());
            backward(layer.forward(input).context);
            means_of(&layer)
        });
        assert_eq!(found[0], found[1]);
        assert!(found[0].iter().flatten().all(|value| value.is_finite()));

        let found = [&tokens, &others].map(|tokens| {
            let layer = fused(true);
            backward(layer.forward(tokens.clone(), Some(mask())));
            let preconditioner = observed(&layer);
            [&layer.qkv, &layer.output].map(|linear| means(&preconditioner, &linear.weight))
        });
        assert_eq!(found[0], found[1]);
    }
}

/// Breaks when attention that is the same everywhere is not the mean of the tokens.
#[test]
fn uniform_attention_is_the_mean_of_the_tokens() {
    let mut layer = multi_head(false).into_inner();
    layer.query = zeroed(layer.query);
    let layer: MacMultiHeadAttention<F64> = layer.into();
    let linear: MacLinear<F64> = LinearConfig::new(SIZE, SIZE)
        .init(&Default::default())
        .into();
    let [query, key, value] = inputs(6);
    let input = AttentionInput::new(query, key, value.clone());
    backward(layer.forward(input).context);
    backward(linear.forward(value));
    let expected = means(&observed(&linear), &linear.weight);
    let found = means(&observed(&layer), &layer.value.weight);
    assert_close(&found, &expected, ROUNDING, "uniform");
}

/// The size of a head of [`GroupedQueries`].
const D_HEAD: usize = 2;

/// Heads of queries, and of keys and values: each of these is shared by two of queries.
const QUERY_HEADS: usize = 4;
const SHARED_HEADS: usize = 2;

/// Grouped-query attention of a user's own, with one projection `[SIZE, 4 d + 2 d + 2 d]`.
#[derive(Module, Debug)]
struct GroupedQueries<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    recorder: Recorder<B>,
}

impl<B: Backend> GroupedQueries<B> {
    fn new(seed: u64) -> Self {
        let columns = (QUERY_HEADS + 2 * SHARED_HEADS) * D_HEAD;
        Self {
            weight: Param::from_tensor(random([SIZE, columns], seed)),
            recorder: Recorder::new(),
        }
    }

    /// The attended values, `[batch, heads, tokens, d]`, and the probabilities.
    fn forward(
        &self,
        tokens: &Tensor<B, 3>,
        padded: Option<&Tensor<B, 2, Bool>>,
    ) -> [Tensor<B, 4>; 2] {
        let projected = tokens.clone().matmul(self.weight.val().unsqueeze());
        let heads = |first: usize, heads: usize| {
            let columns = projected.clone().narrow(2, first * D_HEAD, heads * D_HEAD);
            let columns = columns.reshape([BATCH, KEYS, heads, D_HEAD]);
            columns.swap_dims(1, 2)
        };
        let query = heads(0, QUERY_HEADS);
        let key = heads(QUERY_HEADS, SHARED_HEADS);
        let value = heads(QUERY_HEADS + SHARED_HEADS, SHARED_HEADS);

        let mut scores = query.matmul(for_queries(key).transpose());
        if let Some(padded) = padded {
            let mask = padded.clone().reshape([BATCH, 1, 1, KEYS]);
            scores = scores.mask_fill(mask, -1e4);
        }
        let probabilities = softmax(scores, 3);
        let attended = AttendedValues {
            probabilities: &probabilities,
            values: tokens,
            queries_padded: padded,
            keys_padded: padded,
        };
        let value_columns = SHARED_HEADS * D_HEAD;
        let value = self.recorder.record_fused_attention(
            &self.weight,
            None,
            value_columns,
            attended,
            value,
        );
        [
            probabilities.clone().matmul(for_queries(value)),
            probabilities,
        ]
    }
}

/// Shared heads, each next to itself once for each head of queries that it is shared by.
fn for_queries<B: Backend>(shared: Tensor<B, 4>) -> Tensor<B, 4> {
    let apart = shared.reshape([BATCH, SHARED_HEADS, 1, KEYS * D_HEAD]);
    let repeated = apart.repeat_dim(2, QUERY_HEADS / SHARED_HEADS);
    repeated.reshape([BATCH, QUERY_HEADS, KEYS, D_HEAD])
}

/// Breaks when a mean of a projection with fewer heads of keys and values than of queries is not the definition's, or when
/// it does not precondition its columns: all but the last `2 d` have that of the tokens, also those of the last third.
#[test]
fn shared_heads_of_keys_and_values_record_the_definition() {
    for padded in [None, Some(LENGTHS), Some(HOLE)] {
        let layer = GroupedQueries::<F64>::new(1);
        let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 8);
        let mask = padded.map(|padded| mask_pad([BATCH, KEYS], padded));
        let [output, probabilities] = layer.forward(&tokens, mask.as_ref());
        let weights = random(output.dims(), 9);
        let grads = (output.square() * weights).mean().backward();
        let grads = GradientsParams::from_grads(grads, &layer);
        let linear = Linear {
            weight: layer.weight.clone(),
            bias: None,
        };
        let raw = Gradients::of(&grads, &linear);
        let damping = 0.6;
        let mut preconditioner = MacConfig::new()
            .with_stat_decay(0.0)
            .with_damping(damping)
            .init_preconditioner();
        let grads = preconditioner.precondition(&layer, grads);

        let masks = Masks {
            keys: padded,
            queries: padded,
            attention: None,
        };
        let case = format!("{padded:?}");
        let (tokens, probabilities) = (Host::of(&tokens), Host::of(&probabilities));
        let of_tokens = tokens.token_mean(padded);
        let of_values = attended_mean(&probabilities, &tokens, masks);
        let found = means(&preconditioner, &layer.weight);
        let both = [of_tokens.clone(), of_values.clone()].concat();
        assert_close(&found, &both, ROUNDING, &case);

        let found = Gradients::of(&grads, &linear);
        let others = (QUERY_HEADS + SHARED_HEADS) * D_HEAD;
        let values = others..others + SHARED_HEADS * D_HEAD;
        for (columns, mean, other) in [
            (0..others, &of_tokens, &of_values),
            (values, &of_values, &of_tokens),
        ] {
            let (found, raw) = (found.columns(columns.clone()), raw.columns(columns));
            let difference = found.difference(&expected(&raw, mean, damping));
            assert!(difference <= ROUNDING, "{case}: {difference:e}");
            let difference = found.difference(&expected(&raw, other, damping));
            assert!(difference > EFFECT, "{case}: {difference:e}");
        }
    }
}
