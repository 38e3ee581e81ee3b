//! The statistics of encoders and decoders, and that all of their projections are preconditioned by them.

use crate::attention::*;
use crate::rank_one::{Gradients, expected};
use crate::support::{filled, random};
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::Linear;
use burn::nn::attention::{MhaInput, MultiHeadAttention};
use burn::nn::transformer::{
    PositionWiseFeedForward, TransformerDecoderConfig, TransformerEncoderConfig,
};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn_ndarray::NdArray;
use mac_burn::{
    Coverage, DecoderInput, EncoderInput, MacConfig, MacTransformerDecoder, MacTransformerEncoder,
};

type F64 = Autodiff<NdArray<f64>>;

/// Sums in f64 in another order differ by rounding. A projection that is not preconditioned, or by
/// another's mean, shows at 1e-4.
const ROUNDING: f64 = 1e-12;

/// The least change that preconditioning makes in gradients of about 0.1, and the least difference of two projections' means.
const EFFECT: f64 = 1e-4;

/// The projections of an encoder layer, in the order of its recorders.
const ENCODER: [&str; 6] = [
    "mha.query",
    "mha.key",
    "mha.value",
    "mha.output",
    "pwff.linear_inner",
    "pwff.linear_outer",
];

/// The projections of a decoder layer, in the order of its recorders.
const DECODER: [&str; 10] = [
    "cross_attn.query",
    "cross_attn.key",
    "cross_attn.value",
    "cross_attn.output",
    "self_attn.query",
    "self_attn.key",
    "self_attn.value",
    "self_attn.output",
    "pwff.linear_inner",
    "pwff.linear_outer",
];

fn encoder() -> MacTransformerEncoder<F64> {
    let config = TransformerEncoderConfig::new(SIZE, 12, HEADS, 2).with_dropout(0.0);
    filled(config.init(&Default::default()), 1).into()
}

fn decoder() -> MacTransformerDecoder<F64> {
    let config = TransformerDecoderConfig::new(SIZE, 12, HEADS, 2)
        .with_dropout(0.0)
        .with_norm_first(true);
    filled(config.init(&Default::default()), 2).into()
}

fn attention_of(layer: &MultiHeadAttention<F64>) -> Vec<&Linear<F64>> {
    vec![&layer.query, &layer.key, &layer.value, &layer.output]
}

fn feed_forward_of(layer: &PositionWiseFeedForward<F64>) -> Vec<&Linear<F64>> {
    vec![&layer.linear_inner, &layer.linear_outer]
}

fn encoder_linears(encoder: &MacTransformerEncoder<F64>) -> Vec<&Linear<F64>> {
    let layers = encoder.layers.iter();
    layers
        .flat_map(|layer| [attention_of(&layer.mha), feed_forward_of(&layer.pwff)].concat())
        .collect()
}

fn decoder_linears(decoder: &MacTransformerDecoder<F64>) -> Vec<&Linear<F64>> {
    let layers = decoder.layers.iter();
    let of_layer = layers.flat_map(|layer| {
        let (cross, own) = (
            attention_of(&layer.cross_attn),
            attention_of(&layer.self_attn),
        );
        [cross, own, feed_forward_of(&layer.pwff)].concat()
    });
    of_layer.collect()
}

fn encode(encoder: &MacTransformerEncoder<F64>, tokens: Tensor<F64, 3>) -> Tensor<F64, 3> {
    encoder.forward(EncoderInput::new(tokens).mask_pad(mask_pad([BATCH, KEYS], LENGTHS)))
}

fn decode(
    decoder: &MacTransformerDecoder<F64>,
    target: Tensor<F64, 3>,
    memory: Tensor<F64, 3>,
) -> Tensor<F64, 3> {
    let input = DecoderInput::new(target, memory)
        .target_mask_pad(mask_pad([BATCH, KEYS], HOLE))
        .target_mask_attn(mask_attn([BATCH, KEYS, KEYS], CAUSAL))
        .memory_mask_pad(mask_pad([BATCH, KEYS], LENGTHS));
    decoder.forward(input)
}

/// Breaks when a projection is left out of the report or of preconditioning.
fn check_coverage<M: AutodiffModule<F64>>(
    module: &M,
    output: Tensor<F64, 3>,
    linears: &[&Linear<F64>],
    paths: &[String],
) {
    let weights = random(output.dims(), 3);
    let loss = (output.square() * weights).mean();
    let grads = GradientsParams::from_grads(loss.backward(), module);
    let raw: Vec<_> = linears
        .iter()
        .map(|linear| Gradients::of(&grads, linear))
        .collect();
    let damping = 0.6;
    let mut preconditioner = MacConfig::new().with_damping(damping).init_preconditioner();
    let grads = preconditioner.precondition(module, grads);

    assert_eq!(linears.len(), paths.len());
    for ((linear, raw), path) in linears.iter().zip(&raw).zip(paths) {
        let mean = preconditioner.mean_activation(linear.weight.id);
        let mean: Vec<f64> = mean.expect(path).into_data().iter().collect();
        let (found, expected) = (Gradients::of(&grads, linear), expected(raw, &mean, damping));
        assert!(found.difference(&expected) <= ROUNDING, "{path}");
        // Keys differ by what is the same for all of them, which a softmax does not see.
        let change = raw.difference(&found);
        assert!(change > EFFECT, "{path} changes by {change:e}");
    }

    let report = preconditioner.report(module);
    let rows: Vec<_> = report
        .layers
        .iter()
        .map(|row| (row.path.clone(), row.coverage, row.updates))
        .collect();
    let expected = paths
        .iter()
        .map(|path| (path.clone(), Coverage::MeanActivation, 1));
    assert_eq!(rows, expected.collect::<Vec<_>>());
    let covered = linears.iter().map(|linear| {
        let [inputs, outputs] = linear.weight.dims();
        inputs * outputs + outputs
    });
    assert_eq!(report.covered_parameters, covered.sum::<usize>());
    // In f64 for a layer: the moving averages, that of squares among them, the mean in use, two vectors and two scalars made of it, and
    // the number of batches that were not finite. No probabilities, no tokens.
    let bytes = linears.iter().map(|linear| {
        let inputs = linear.weight.dims()[0];
        ((inputs + 3) + (inputs + 1) + 2 * inputs + 2 + 1) * 8
    });
    assert_eq!(report.statistics_bytes, bytes.sum::<usize>());
}

fn named(parts: &[&str]) -> Vec<String> {
    (0..2)
        .flat_map(|layer| {
            parts
                .iter()
                .map(move |part| format!("layers.{layer}.{part}"))
        })
        .collect()
}

#[test]
fn every_projection_of_an_encoder_is_preconditioned() {
    let encoder = encoder();
    let output = encode(&encoder, random([BATCH, KEYS, SIZE], 4));
    check_coverage(
        &encoder,
        output,
        &encoder_linears(&encoder),
        &named(&ENCODER),
    );
}

#[test]
fn every_projection_of_a_decoder_is_preconditioned() {
    let decoder = decoder();
    let [target, memory] = [5, 6].map(|seed| random([BATCH, KEYS, SIZE], seed));
    let output = decode(&decoder, target, memory);
    check_coverage(
        &decoder,
        output,
        &decoder_linears(&decoder),
        &named(&DECODER),
    );
}

/// The tokens with others in place of the padded ones.
fn repadded(tokens: &Tensor<F64, 3>, padded: Padded) -> Tensor<F64, 3> {
    let mask = mask_pad::<F64>([BATCH, KEYS], padded).unsqueeze_dim::<3>(2);
    let others = random::<F64, 3>([BATCH, KEYS, SIZE], 99) * 10.0;
    tokens
        .clone()
        .mask_where(mask.expand(tokens.shape()), others)
}

fn all_means<M: AutodiffModule<F64>>(module: &M, linears: &[&Linear<F64>]) -> Vec<Vec<f64>> {
    let preconditioner = observed(module);
    let means = linears
        .iter()
        .map(|linear| means(&preconditioner, &linear.weight));
    means.collect()
}

/// Breaks when any projection of any layer, feed-forward ones included, counts padded tokens: bitwise,
/// since their weight in all sums is 0.
#[test]
fn what_padded_tokens_hold_changes_no_statistic() {
    let tokens = random([BATCH, KEYS, SIZE], 7);
    let encoder = encoder();
    let found = [tokens.clone(), repadded(&tokens, LENGTHS)].map(|tokens| {
        backward(encode(&encoder, tokens));
        all_means(&encoder, &encoder_linears(&encoder))
    });
    assert_eq!(found[0], found[1]);

    let decoder = decoder();
    let memory = random([BATCH, KEYS, SIZE], 8);
    let found = [
        (tokens.clone(), memory.clone()),
        (repadded(&tokens, HOLE), repadded(&memory, LENGTHS)),
    ]
    .map(|(target, memory)| {
        backward(decode(&decoder, target, memory));
        all_means(&decoder, &decoder_linears(&decoder))
    });
    assert_eq!(found[0], found[1]);
}

/// The means of an attention's projections by the definition: query, key, value, output.
fn attention_means(
    layer: &MultiHeadAttention<F64>,
    [query, memory]: [&Tensor<F64, 3>; 2],
    masks: Masks,
) -> Vec<Vec<f64>> {
    let (query, values) = (Host::of(query), Host::of(memory));
    let (of_queries, of_keys) = (
        query.token_mean(masks.queries),
        values.token_mean(masks.keys),
    );
    let oracle = Attention::of(layer, [&query, &values, &values], masks, false);
    let of_outputs = oracle.context().token_mean(masks.queries);
    vec![of_queries, of_keys, oracle.attended_mean(), of_outputs]
}

/// The output of Burn's attention.
fn attended(
    layer: &MultiHeadAttention<F64>,
    [query, memory]: [&Tensor<F64, 3>; 2],
    masks: Masks,
) -> Tensor<F64, 3> {
    let mut input = MhaInput::new(query.clone(), memory.clone(), memory.clone());
    if let Some(padded) = masks.keys {
        input = input.mask_pad(mask_pad([BATCH, KEYS], padded));
    }
    if let Some(masked) = masks.attention {
        input = input.mask_attn(mask_attn([BATCH, KEYS, KEYS], masked));
    }
    layer.forward(input).context
}

/// The means of the inner and the outer layer of a feed-forward layer.
fn feed_forward_means(
    layer: &PositionWiseFeedForward<F64>,
    input: &Tensor<F64, 3>,
    padded: Padded,
) -> Vec<Vec<f64>> {
    let hidden = layer
        .activation
        .forward(layer.linear_inner.forward(input.clone()));
    let means = [input, &hidden].map(|tokens| Host::of(tokens).token_mean(Some(padded)));
    means.into()
}

fn assert_means(found: &[Vec<f64>], expected: &[Vec<f64>], paths: &[String]) {
    assert_eq!((found.len(), expected.len()), (paths.len(), paths.len()));
    for ((found, expected), path) in found.iter().zip(expected).zip(paths) {
        assert_close(found, expected, ROUNDING, path);
    }
    assert_distinct(expected, paths);
}

/// A recorder in the place of another one would be seen. Queries and keys may see the same tokens.
fn assert_distinct(means: &[Vec<f64>], paths: &[String]) {
    let sees_tokens = |path: &str| path.ends_with("query") || path.ends_with("key");
    let named: Vec<_> = means.iter().zip(paths).collect();
    for (index, (left, path)) in named.iter().enumerate() {
        for (right, other) in &named[index + 1..] {
            let pairs = left.iter().zip(right.iter());
            let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let both = sees_tokens(path) && sees_tokens(other);
            assert!(both || difference > EFFECT, "{path} and {other}");
        }
    }
}

/// Breaks when a recorder of an encoder layer stands for another projection than its own, or records what
/// another sees. Layers see what the layers before them made.
#[test]
fn an_encoder_layer_records_what_each_projection_sees() {
    let encoder = encoder();
    let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 9);
    backward(encode(&encoder, tokens.clone()));
    let found = all_means(&encoder, &encoder_linears(&encoder));

    let masks = Masks {
        keys: Some(LENGTHS),
        queries: Some(LENGTHS),
        attention: None,
    };
    let (mut x, mut expected) = (tokens, Vec::new());
    for layer in &encoder.layers {
        expected.extend(attention_means(&layer.mha, [&x, &x], masks));
        x = layer
            .norm_1
            .forward(x.clone() + attended(&layer.mha, [&x, &x], masks));
        expected.extend(feed_forward_means(&layer.pwff, &x, LENGTHS));
        x = layer.norm_2.forward(x.clone() + layer.pwff.forward(x));
    }
    assert_means(&found, &expected, &named(&ENCODER));
}

/// Breaks when the two attentions of a decoder layer take each other's statistics, cross-attention takes those of the
/// target for its memory, or a recorder stands for another projection than its own.
#[test]
fn a_decoder_layer_records_what_each_projection_sees() {
    let decoder = decoder();
    let [target, memory] = [10, 11].map(|seed| random::<F64, 3>([BATCH, KEYS, SIZE], seed));
    backward(decode(&decoder, target.clone(), memory.clone()));
    let found = all_means(&decoder, &decoder_linears(&decoder));

    let own = Masks {
        keys: Some(HOLE),
        queries: Some(HOLE),
        attention: Some(CAUSAL),
    };
    let cross = Masks {
        keys: Some(LENGTHS),
        queries: Some(HOLE),
        attention: None,
    };
    let (mut x, mut expected) = (target, Vec::new());
    for layer in &decoder.layers {
        let normalized = layer.norm_3.forward(x.clone());
        let of_own = attention_means(&layer.self_attn, [&normalized, &normalized], own);
        x = x + attended(&layer.self_attn, [&normalized, &normalized], own);
        let normalized = layer.norm_1.forward(x.clone());
        expected.extend(attention_means(
            &layer.cross_attn,
            [&normalized, &memory],
            cross,
        ));
        expected.extend(of_own);
        x = x + attended(&layer.cross_attn, [&normalized, &memory], cross);
        let normalized = layer.norm_2.forward(x.clone());
        expected.extend(feed_forward_means(&layer.pwff, &normalized, HOLE));
        x = x + layer.pwff.forward(normalized);
    }
    assert_means(&found, &expected, &named(&DECODER));
}
