//! Recorded attention is Burn's attention to everybody but the optimizer.

use crate::attention::*;
use crate::support::{filled, random, values};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::nn::attention::{MhaCache, MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::record::{BinBytesRecorder, DoublePrecisionSettings, Recorder as _};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorData};
use burn_ndarray::NdArray;
use burn_store::ModuleSnapshot;
use mac_burn::{
    AttentionInput, MacMultiHeadAttention, MacSelfAttention, SelfAttention, SelfAttentionConfig,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

type B = Autodiff<Inner>;
type Inner = NdArray<f64>;

fn plain(quiet: bool, seed: u64) -> MultiHeadAttention<B> {
    let config = MultiHeadAttentionConfig::new(SIZE, HEADS)
        .with_dropout(0.0)
        .with_quiet_softmax(quiet);
    filled(config.init(&Default::default()), seed)
}

fn fused(seed: u64) -> SelfAttention<B> {
    let config = SelfAttentionConfig::new(SIZE, HEADS);
    filled(config.init(&Default::default()), seed)
}

/// Burn's input with the masks that Burn knows.
fn masked<B: Backend>(mut input: MhaInput<B>, masks: Masks, queries: usize) -> MhaInput<B> {
    if let Some(padded) = masks.keys {
        input = input.mask_pad(mask_pad([BATCH, KEYS], padded));
    }
    if let Some(masked) = masks.attention {
        input = input.mask_attn(mask_attn([BATCH, queries, KEYS], masked));
    }
    input
}

/// Breaks when any operation of the forward pass, or its order, is not Burn's; or when the mask of
/// padded queries changes the output.
#[test]
fn the_forward_pass_is_bitwise_the_same() {
    for quiet in [false, true] {
        let plain = plain(quiet, 1);
        let recorded: MacMultiHeadAttention<B> = plain.clone().into();
        for (seed, masks) in Masks::all().into_iter().enumerate() {
            let [query, key, value] = inputs(10 * seed as u64);
            let input = MhaInput::new(query.clone(), key.clone(), value.clone());
            let expected = plain.forward(masked(input, masks, QUERIES));
            let input = masks.applied(AttentionInput::new(query, key, value), QUERIES);
            let found = recorded.forward(input.clone());
            expected
                .weights
                .to_data()
                .assert_eq(&found.weights.to_data(), true);
            expected
                .context
                .to_data()
                .assert_eq(&found.context.to_data(), true);

            let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], seed as u64);
            let input = MhaInput::self_attn(tokens.clone());
            let expected = plain.forward(masked(input, masks, KEYS)).context;
            let input = masks.applied(AttentionInput::self_attn(tokens.clone()), KEYS);
            let found = recorded.forward(input).context;
            expected.to_data().assert_eq(&found.to_data(), true);

            let input = masks.applied(AttentionInput::self_attn(tokens.inner()), KEYS);
            let found = recorded.valid().forward(input).context;
            expected.into_data().assert_eq(&found.into_data(), true);
        }
    }
}

/// Breaks when recording changes the output of the fused layer.
#[test]
fn the_fused_forward_pass_is_bitwise_the_same() {
    let plain = fused(1);
    let recorded: MacSelfAttention<B> = plain.clone().into();
    let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 2);
    for padded in [None, Some(LENGTHS)] {
        let mask = || padded.map(|padded| mask_pad([BATCH, KEYS], padded));
        let expected = plain.forward(tokens.clone(), mask());
        let found = recorded.forward(tokens.clone(), mask());
        expected.to_data().assert_eq(&found.to_data(), true);
    }
}

/// Breaks when a bias is added to other scores than its own, or recording it changes the output. Masked
/// scores end up below what a probability can show, whether a mask or a bias put them there.
#[test]
fn a_bias_can_be_a_mask() {
    let plain = fused(1);
    let recorded: MacSelfAttention<B> = plain.clone().into();
    let causal = SelfAttention {
        causal: true,
        ..plain.clone()
    };
    let tokens: Tensor<B, 3> = random([2 * BATCH, KEYS, SIZE], 2);
    let alternate: Masked = |sample, query, key| sample == 1 && key > query;
    let expected = [
        causal.forward(tokens.clone(), None),
        plain.forward(tokens.clone(), None),
    ]
    .map(|output| output.to_data());
    for (biases, masked, sample) in [(1, CAUSAL, 0), (2, alternate, 0), (2, alternate, 1)] {
        let bias = score_bias(biases, masked);
        let found = plain.forward_biased(tokens.clone(), bias.clone());
        let padded = Some(mask_pad([2 * BATCH, KEYS], LENGTHS));
        let same = recorded.forward_biased(tokens.clone(), bias, padded);
        found.to_data().assert_eq(&same.to_data(), true);
        let expected = &expected[(biases - 1) * (1 - sample)];
        let every = |data: &TensorData| -> Vec<f64> {
            let values: Vec<f64> = data.iter().collect();
            let samples = values.chunks(KEYS * SIZE).skip(sample).step_by(2);
            samples.flatten().copied().collect()
        };
        assert_eq!(every(&found.into_data()), every(expected));
    }
}

#[test]
#[should_panic(expected = "the number of score biases must divide the batch, but they are 2 and 3")]
fn biases_that_do_not_divide_the_batch_are_refused() {
    let tokens: Tensor<B, 3> = random([3, KEYS, SIZE], 2);
    fused(1).forward_biased(tokens, score_bias(2, CAUSAL));
}

/// Breaks when a head has another size than it was given.
#[test]
fn heads_may_have_a_size_of_their_own() {
    let config = SelfAttentionConfig::new(SIZE, 3).with_d_head(Some(5));
    let layer: MacSelfAttention<B> = config.init(&Default::default()).into();
    let output = layer.forward(random([BATCH, KEYS, SIZE], 2), None);

    assert_eq!(layer.qkv.weight.dims(), [SIZE, 3 * 15]);
    assert_eq!(layer.output.weight.dims(), [15, SIZE]);
    assert_eq!(output.dims(), [BATCH, KEYS, SIZE]);
    backward(output);
    let preconditioner = observed(&layer);
    assert_eq!(means(&preconditioner, &layer.output.weight).len(), 16);
}

/// Breaks when decoding is recorded, also if gradients flow back through it, or is another's than Burn's.
#[test]
fn decoding_is_the_plain_layers_and_records_nothing() {
    let plain = plain(false, 1);
    let recorded: MacMultiHeadAttention<B> = plain.clone().into();
    let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 3);
    let mut caches = [MhaCache::autoregressive(), MhaCache::autoregressive()];
    let mut decoded = Vec::new();
    for length in 1..=KEYS {
        let input = MhaInput::self_attn(tokens.clone().narrow(1, 0, length));
        let expected = plain.forward_cache(input.clone(), &mut caches[0]);
        let found = recorded.forward_cache(input, &mut caches[1]);
        let (expected, found) = (expected.context, found.context);
        expected.to_data().assert_eq(&found.to_data(), true);
        decoded.push(found);
    }
    // Once for all, since they share a graph by the cache.
    backward(Tensor::cat(decoded, 1));
    let preconditioner = observed(&recorded);
    for linear in [
        &recorded.query,
        &recorded.key,
        &recorded.value,
        &recorded.output,
    ] {
        assert!(preconditioner.activation_ema(linear.weight.id).is_none());
    }
}

fn paths<M: Module<B>>(module: &M) -> Vec<(String, Vec<usize>)> {
    let tensors = module.collect(None, None, false);
    let named = tensors
        .iter()
        .map(|found| (found.full_path(), found.shape.to_vec()));
    named.collect()
}

/// Breaks when the recorders show as a part of the layer.
#[test]
fn it_shows_counts_and_stores_as_the_layer() {
    let (plain, fused) = (plain(true, 1), fused(2));
    let recorded: MacMultiHeadAttention<B> = plain.clone().into();
    assert_eq!(recorded.to_string(), plain.to_string());
    assert_eq!(recorded.num_params(), plain.num_params());
    assert_eq!(paths(&recorded), paths(&plain));
    let recorded: MacSelfAttention<B> = fused.clone().into();
    assert_eq!(recorded.to_string(), fused.to_string());
    assert_eq!(recorded.num_params(), 4 * SIZE * SIZE + 4 * SIZE);
    assert_eq!(paths(&recorded), paths(&fused));
    assert_eq!(
        paths(&recorded)[0],
        ("qkv.weight".into(), vec![SIZE, 3 * SIZE])
    );
}

fn check_records<P, R>(source: P, other: R)
where
    P: Module<B>,
    R: Module<B, Record = P::Record>,
{
    let bytes = BinBytesRecorder::<DoublePrecisionSettings>::default();
    let saved = bytes.record(source.clone().into_record(), ());
    let saved = saved.expect("it is saved");
    assert_ne!(values(&other), values(&source));
    let record = bytes.load(saved.clone(), &Default::default());
    let loaded = other.load_record(record.expect("it is loaded"));
    assert_eq!(values(&loaded), values(&source));
    // The bytes hold the ids.
    let back = bytes.record(loaded.into_record(), ());
    assert_eq!(back.expect("it is saved"), saved);
}

/// Breaks when the record is not the plain layer's.
#[test]
fn records_are_exchanged_both_ways_with_their_ids() {
    check_records(
        plain(false, 1),
        MacMultiHeadAttention::from(plain(false, 2)),
    );
    check_records(fused(1), MacSelfAttention::from(fused(2)));
}

/// Breaks when a layer can be made that makes NaN of everything, or of which no head is left.
#[test]
fn heads_that_make_no_layer_are_refused() {
    let config = SelfAttentionConfig::new;
    let refused = [
        (
            config(SIZE, 3),
            "n_heads must divide d_model, but they are 3 and 8",
        ),
        (config(SIZE, 0), "n_heads must be at least 1, but is 0"),
        (
            config(SIZE, 0).with_d_head(Some(4)),
            "n_heads must be at least 1, but is 0",
        ),
        (
            config(SIZE, 2).with_d_head(Some(0)),
            "d_head must be at least 1, but is 0 (with d_model 8)",
        ),
        (
            config(0, 2),
            "d_head must be at least 1, but is 0 (with d_model 0)",
        ),
    ];
    for (config, expected) in refused {
        assert_eq!(panic_of(|| config.init::<B>(&Default::default())), expected);
    }
}

/// Burn broadcasts a mask of one sample. Breaks when that is refused, or counts otherwise than the mask of each sample.
#[test]
fn a_padding_mask_may_be_one_for_all_samples() {
    let shared = |tokens| mask_pad([1, tokens], END);
    let repeated = |tokens| mask_pad([BATCH, tokens], END);
    let plain = plain(false, 1);
    let recorded: MacMultiHeadAttention<B> = plain.clone().into();
    let [query, key, value] = inputs::<B>(1);
    let theirs = MhaInput::new(query.clone(), key.clone(), value.clone());
    let expected = plain.forward(theirs.mask_pad(shared(KEYS))).context;
    let ours = AttentionInput::new(query, key, value);
    let masked = ours.clone().mask_pad(shared(KEYS));
    let found = recorded.forward(masked.mask_pad_query(shared(QUERIES)));
    found.context.to_data().assert_eq(&expected.to_data(), true);
    backward(found.context);
    let means_of_shared = means_of(&recorded);
    let masked = ours.mask_pad(repeated(KEYS));
    let output = recorded.forward(masked.mask_pad_query(repeated(QUERIES)));
    backward(output.context);
    assert_eq!(means_of_shared, means_of(&recorded));

    let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 2);
    let inner = tokens.clone().inner();
    let theirs = MhaInput::self_attn(inner.clone()).mask_pad(mask_pad([1, KEYS], END));
    let expected = plain.valid().forward(theirs).context;
    let ours = AttentionInput::self_attn(inner).mask_pad(mask_pad([1, KEYS], END));
    let found = recorded.valid().forward(ours).context;
    found.into_data().assert_eq(&expected.into_data(), true);

    let recorded: MacSelfAttention<B> = fused(1).into();
    let pass = |mask: Tensor<B, 2, Bool>| {
        let masked = recorded.forward(tokens.clone(), Some(mask.clone()));
        let biased = recorded.forward_biased(tokens.clone(), score_bias(1, CAUSAL), Some(mask));
        backward(masked.clone() + biased.clone());
        let preconditioner = observed(&recorded);
        let linear = [&recorded.qkv, &recorded.output];
        let means = linear.map(|linear| means(&preconditioner, &linear.weight));
        (masked.into_data(), biased.into_data(), means)
    };
    assert_eq!(pass(shared(KEYS)), pass(repeated(KEYS)));
}

/// Breaks when a padding mask that does not fit is found out by a recorder, and not by every forward pass alike.
#[test]
fn padding_masks_of_another_shape_are_refused() {
    let wrong = || mask_pad([BATCH, KEYS + 1], LENGTHS);
    let short = || mask_pad([1, KEYS - 1], LENGTHS);
    let fewer = || mask_pad([2, KEYS], LENGTHS);
    let recorded: MacMultiHeadAttention<B> = plain(false, 1).into();
    let evaluated = recorded.valid();
    let [query, key, value] = inputs::<Inner>(1);
    let input = || AttentionInput::new(query.clone(), key.clone(), value.clone());
    let text = panic_of(|| evaluated.forward(input().mask_pad(short())));
    assert_eq!(
        text,
        "`mask_pad` has the shape [1, 4], but must have that of its tokens, [3, 5], or of one sample's"
    );
    let text = panic_of(|| evaluated.forward(input().mask_pad(fewer())));
    assert_eq!(
        text,
        "`mask_pad` has the shape [2, 5], but must have that of its tokens, [3, 5], or of one sample's"
    );
    let text = panic_of(|| evaluated.forward(input().mask_pad_query(wrong())));
    assert_eq!(
        text,
        "`mask_pad_query` has the shape [3, 6], but must have that of its tokens, [3, 4], or of one sample's"
    );
    let [query, key, value] = inputs::<B>(1);
    let input = AttentionInput::new(query, key, value);
    let text = panic_of(|| recorded.forward(input.mask_pad_query(mask_pad([BATCH, 2], LENGTHS))));
    assert_eq!(
        text,
        "`mask_pad_query` has the shape [3, 2], but must have that of its tokens, [3, 4], or of one sample's"
    );

    let tokens: Tensor<Inner, 3> = random([BATCH, KEYS, SIZE], 2);
    let recorded: MacSelfAttention<B> = fused(1).into();
    let evaluated = recorded.valid();
    let text = panic_of(|| evaluated.forward(tokens.clone(), Some(wrong())));
    assert_eq!(
        text,
        "`mask_pad` has the shape [3, 6], but must have that of its tokens, [3, 5], or of one sample's"
    );
    let bias = score_bias(1, CAUSAL);
    let text = panic_of(|| evaluated.forward_biased(tokens.clone(), bias, Some(wrong())));
    assert_eq!(
        text,
        "`uncounted` has the shape [3, 6], but must have that of its tokens, [3, 5], or of one sample's"
    );
}

/// The text of the panic that this ends in.
fn panic_of<T>(end: impl FnOnce() -> T) -> String {
    let end = AssertUnwindSafe(|| drop(end()));
    let payload = catch_unwind(end).expect_err("it panics");
    let text = payload.downcast_ref::<String>();
    text.expect("the panic has a text").clone()
}
