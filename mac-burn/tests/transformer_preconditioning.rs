//! What encoders and decoders record, and that all of their projections are preconditioned by it.

#[path = "support/attention.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod attention;
#[path = "support/rank_one.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod rank_one;
mod support;

use attention::*;
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::Linear;
use burn::nn::attention::MultiHeadAttention;
use burn::nn::transformer::{
    PositionWiseFeedForward, TransformerDecoderConfig, TransformerEncoderConfig,
};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn_ndarray::NdArray;
use mac_burn::{
    Coverage, DecoderInput, EncoderInput, MacConfig, MacTransformerDecoder, MacTransformerEncoder,
};
use rank_one::{Gradients, expected};
use support::{filled, random};

type F64 = Autodiff<NdArray<f64>>;

/// Sums in f64 in another order differ by rounding. A projection that is not preconditioned, or by
/// another's mean, shows at 1e-4.
const ROUNDING: f64 = 1e-12;

/// What preconditioning changes at least, in gradients of about 0.1.
const EFFECT: f64 = 1e-4;

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
    // In f64 for a layer: the moving average, the mean in use, two vectors and two scalars made of it, and
    // the number of batches that were not finite. No probabilities, no tokens.
    let bytes = linears.iter().map(|linear| {
        let inputs = linear.weight.dims()[0];
        ((inputs + 2) + (inputs + 1) + 2 * inputs + 2 + 1) * 8
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
    let paths = named(&[
        "mha.query",
        "mha.key",
        "mha.value",
        "mha.output",
        "pwff.linear_inner",
        "pwff.linear_outer",
    ]);
    check_coverage(&encoder, output, &encoder_linears(&encoder), &paths);
}

#[test]
fn every_projection_of_a_decoder_is_preconditioned() {
    let decoder = decoder();
    let [target, memory] = [5, 6].map(|seed| random([BATCH, KEYS, SIZE], seed));
    let output = decode(&decoder, target, memory);
    let paths = named(&[
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
    ]);
    check_coverage(&decoder, output, &decoder_linears(&decoder), &paths);
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
        encode(&encoder, tokens);
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
        decode(&decoder, target, memory);
        all_means(&decoder, &decoder_linears(&decoder))
    });
    assert_eq!(found[0], found[1]);
}

/// Breaks when a recorder of an encoder layer stands for another projection than its own: the first
/// layer's tokens are the input, the others' what the layer before made of it.
#[test]
fn an_encoder_layer_records_what_each_projection_sees() {
    let encoder = encoder();
    let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 9);
    encode(&encoder, tokens.clone());
    let found = all_means(&encoder, &encoder_linears(&encoder));
    let first = Host::of(&tokens).token_mean(Some(LENGTHS));
    assert_close(&found[0], &first, ROUNDING, "query of the first layer");
    assert_close(&found[1], &first, ROUNDING, "key of the first layer");
    let layer = &encoder.layers[0];
    let mask = || Some(mask_pad([BATCH, KEYS], LENGTHS));
    let second = layer.forward(tokens, mask(), None);
    let second = Host::of(&second).token_mean(Some(LENGTHS));
    assert_close(&found[6], &second, ROUNDING, "query of the second layer");
    assert_close(&found[7], &second, ROUNDING, "key of the second layer");
}
