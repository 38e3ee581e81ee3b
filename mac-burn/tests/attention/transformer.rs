//! Recorded encoders and decoders: Burn's modules to everybody but the optimizer.

use crate::attention::*;
use crate::support::{filled, random, values};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::nn::transformer::{
    TransformerDecoder, TransformerDecoderConfig, TransformerDecoderInput, TransformerEncoder,
    TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::record::{BinBytesRecorder, DoublePrecisionSettings, Recorder as _};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_ndarray::NdArray;
use burn_store::ModuleSnapshot;
use mac_burn::{
    DecoderInput, EncoderInput, MacTransformerDecoder, MacTransformerDecoderLayer,
    MacTransformerEncoder, MacTransformerEncoderLayer, Recorded, RecordedLayer,
};

type B = Autodiff<NdArray<f64>>;

/// Burn's configurations of either order of the norms and either softmax.
const SETTINGS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

fn encoder((norm_first, quiet): (bool, bool), seed: u64) -> TransformerEncoder<B> {
    let config = TransformerEncoderConfig::new(SIZE, 12, HEADS, 2)
        .with_dropout(0.0)
        .with_norm_first(norm_first)
        .with_quiet_softmax(quiet);
    filled(config.init(&Default::default()), seed)
}

fn decoder((norm_first, quiet): (bool, bool), seed: u64) -> TransformerDecoder<B> {
    let config = TransformerDecoderConfig::new(SIZE, 12, HEADS, 2)
        .with_dropout(0.0)
        .with_norm_first(norm_first)
        .with_quiet_softmax(quiet);
    filled(config.init(&Default::default()), seed)
}

/// Whether a pass has padding masks and attention masks.
const MASKS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// The same pass for Burn's encoder and for the recorded one.
fn encoder_inputs((pad, attention): (bool, bool)) -> (TransformerEncoderInput<B>, EncoderInput<B>) {
    let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 5);
    let mut theirs = TransformerEncoderInput::new(tokens.clone());
    let mut ours = EncoderInput::new(tokens);
    if pad {
        theirs = theirs.mask_pad(mask_pad([BATCH, KEYS], LENGTHS));
        ours = ours.mask_pad(mask_pad([BATCH, KEYS], LENGTHS));
    }
    if attention {
        theirs = theirs.mask_attn(mask_attn([BATCH, KEYS, KEYS], CAUSAL));
        ours = ours.mask_attn(mask_attn([BATCH, KEYS, KEYS], CAUSAL));
    }
    (theirs, ours)
}

/// The same pass for Burn's decoder and for the recorded one.
fn decoder_inputs((pad, attention): (bool, bool)) -> (TransformerDecoderInput<B>, DecoderInput<B>) {
    let target: Tensor<B, 3> = random([BATCH, QUERIES, SIZE], 6);
    let memory: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 7);
    let mut theirs = TransformerDecoderInput::new(target.clone(), memory.clone());
    let mut ours = DecoderInput::new(target, memory);
    if pad {
        theirs = theirs
            .target_mask_pad(mask_pad([BATCH, QUERIES], LENGTHS))
            .memory_mask_pad(mask_pad([BATCH, KEYS], HOLE));
        ours = ours
            .target_mask_pad(mask_pad([BATCH, QUERIES], LENGTHS))
            .memory_mask_pad(mask_pad([BATCH, KEYS], HOLE));
    }
    if attention {
        theirs = theirs
            .target_mask_attn(mask_attn([BATCH, QUERIES, QUERIES], CAUSAL))
            .memory_mask_attn(mask_attn([BATCH, QUERIES, KEYS], STRIPES));
        ours = ours
            .target_mask_attn(mask_attn([BATCH, QUERIES, QUERIES], CAUSAL))
            .memory_mask_attn(mask_attn([BATCH, QUERIES, KEYS], STRIPES));
    }
    (theirs, ours)
}

fn assert_bitwise<B: Backend>(left: Tensor<B, 3>, right: Tensor<B, 3>) {
    left.into_data().assert_eq(&right.into_data(), true);
}

/// Breaks when the recorded encoder does not do all that Burn's does, in its order.
#[test]
fn an_encoder_is_bitwise_the_same() {
    for setting in SETTINGS {
        let plain = encoder(setting, 1);
        let recorded: MacTransformerEncoder<B> = plain.clone().into();
        for masks in MASKS {
            let (theirs, ours) = encoder_inputs(masks);
            assert_bitwise(plain.forward(theirs), recorded.forward(ours));

            let layer = &plain.layers[1];
            let recorded: MacTransformerEncoderLayer<B> = layer.clone().into();
            let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 8);
            let pad = masks.0.then(|| mask_pad([BATCH, KEYS], HOLE));
            let attention = masks.1.then(|| mask_attn([BATCH, KEYS, KEYS], CAUSAL));
            assert_bitwise(
                layer.forward(tokens.clone(), pad.clone(), attention.clone()),
                recorded.forward(tokens, pad, attention),
            );
        }
    }
}

/// Breaks when the recorded decoder does not do all that Burn's does, in its order, or mixes up its two
/// attentions or their masks.
#[test]
fn a_decoder_is_bitwise_the_same() {
    for setting in SETTINGS {
        let plain = decoder(setting, 2);
        let recorded: MacTransformerDecoder<B> = plain.clone().into();
        for masks in MASKS {
            let (theirs, ours) = decoder_inputs(masks);
            assert_bitwise(plain.forward(theirs), recorded.forward(ours));

            // Burn's layer returns what no other crate can read, so a decoder of one layer stands for it.
            let mut single = plain.clone();
            let layer: MacTransformerDecoderLayer<B> = single.layers.remove(0).into();
            single.layers = vec![(*layer).clone()];
            let (theirs, ours) = decoder_inputs(masks);
            assert_bitwise(single.forward(theirs), layer.forward(ours));
        }
    }
}

/// Burn broadcasts a mask of one sample. Breaks when that is refused, by attention or by what counts the tokens of
/// feed-forward layers.
#[test]
fn a_padding_mask_may_be_one_for_all_samples() {
    let (queries, keys) = (|| mask_pad([1, QUERIES], END), || mask_pad([1, KEYS], END));
    let plain = encoder((true, false), 1);
    let recorded: MacTransformerEncoder<B> = plain.clone().into();
    let (theirs, ours) = encoder_inputs((false, true));
    assert_bitwise(
        plain.forward(theirs.mask_pad(keys())),
        recorded.forward(ours.mask_pad(keys())),
    );
    let layer: MacTransformerEncoderLayer<B> = plain.layers[1].clone().into();
    let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 8);
    assert_bitwise(
        layer.forward(tokens.clone(), Some(keys()), None),
        plain.layers[1].forward(tokens, Some(keys()), None),
    );

    let plain = decoder((true, false), 2);
    let inputs = || {
        let (theirs, ours) = decoder_inputs((false, true));
        (
            theirs.target_mask_pad(queries()).memory_mask_pad(keys()),
            ours.target_mask_pad(queries()).memory_mask_pad(keys()),
        )
    };
    let (theirs, ours) = inputs();
    let recorded: MacTransformerDecoder<B> = plain.clone().into();
    assert_bitwise(plain.forward(theirs), recorded.forward(ours));
    let mut single = plain;
    single.layers.truncate(1);
    let layer: MacTransformerDecoderLayer<B> = single.layers[0].clone().into();
    let (theirs, ours) = inputs();
    assert_bitwise(single.forward(theirs), layer.forward(ours));
}

/// Breaks when a padding mask that does not fit goes by another name than it was given by.
#[test]
#[should_panic(
    expected = "`target_mask_pad` has the shape [3, 5], but must have that of its tokens, [3, 4]"
)]
fn a_target_mask_of_another_shape_is_refused() {
    let recorded: MacTransformerDecoder<B> = decoder((true, false), 1).into();
    let (_, input) = decoder_inputs((true, true));
    recorded.forward(input.target_mask_pad(mask_pad([BATCH, KEYS], LENGTHS)));
}

#[test]
#[should_panic(
    expected = "`memory_mask_pad` has the shape [3, 4], but must have that of its tokens, [3, 5]"
)]
fn a_memory_mask_of_another_shape_is_refused() {
    let layer: MacTransformerDecoderLayer<B> = decoder((true, false), 1).layers.remove(0).into();
    let (_, input) = decoder_inputs((true, true));
    layer.forward(input.memory_mask_pad(mask_pad([BATCH, QUERIES], LENGTHS)));
}

/// Breaks when what is decoded token by token is not Burn's, or is recorded.
#[test]
fn autoregressive_inference_is_the_plain_modules_and_records_nothing() {
    let plain = encoder((true, false), 1);
    let recorded: MacTransformerEncoder<B> = plain.clone().into();
    let mut caches = [
        plain.new_autoregressive_cache(),
        recorded.new_autoregressive_cache(),
    ];
    let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 9);
    for length in 1..=KEYS {
        let input = || TransformerEncoderInput::new(tokens.clone().narrow(1, 0, length));
        assert_bitwise(
            plain.forward_autoregressive_inference(input(), &mut caches[0]),
            recorded.forward_autoregressive_inference(input(), &mut caches[1]),
        );
    }
    let preconditioner = observed(&recorded);
    let linear = &recorded.layers[0].mha.query;
    assert!(preconditioner.activation_ema(linear.weight.id).is_none());

    let plain = decoder((true, false), 1);
    let recorded: MacTransformerDecoder<B> = plain.clone().into();
    let mut caches = [
        plain.new_autoregressive_cache(),
        recorded.new_autoregressive_cache(),
    ];
    let memory: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 10);
    for length in 1..=KEYS {
        let target = tokens.clone().narrow(1, 0, length);
        let input = || TransformerDecoderInput::new(target.clone(), memory.clone());
        assert_bitwise(
            plain.forward_autoregressive_inference(input(), &mut caches[0]),
            recorded.forward_autoregressive_inference(input(), &mut caches[1]),
        );
    }
    let preconditioner = observed(&recorded);
    let linear = &recorded.layers[0].cross_attn.query;
    assert!(preconditioner.activation_ema(linear.weight.id).is_none());
}

fn paths<M: Module<B>>(module: &M) -> Vec<(String, Vec<usize>)> {
    let tensors = module.collect(None, None, false);
    let named = tensors
        .iter()
        .map(|found| (found.full_path(), found.shape.to_vec()));
    named.collect()
}

/// Breaks when a recorded module shows, counts, names or stores anything else than the plain one.
fn check_transparency<L>(plain: L, other: L)
where
    L: RecordedLayer<B> + std::fmt::Display + AutodiffModule<B>,
{
    let recorded: Recorded<L, B> = other.into();
    assert_eq!(recorded.to_string(), plain.to_string());
    assert_eq!(recorded.num_params(), plain.num_params());
    assert_eq!(paths(&recorded), paths(&plain));

    let bytes = BinBytesRecorder::<DoublePrecisionSettings>::default();
    let saved = bytes.record(plain.clone().into_record(), ());
    let saved = saved.expect("it is saved");
    assert_ne!(values(&recorded), values(&plain));
    let record = bytes.load(saved.clone(), &Default::default());
    let loaded = recorded.load_record(record.expect("it is loaded"));
    assert_eq!(values(&loaded), values(&plain));
    // The bytes hold the ids.
    let back = bytes.record(loaded.into_record(), ());
    assert_eq!(back.expect("it is saved"), saved);
}

#[test]
fn they_show_count_and_store_as_the_plain_modules() {
    check_transparency(encoder((true, false), 1), encoder((true, false), 2));
    check_transparency(decoder((false, false), 1), decoder((false, false), 2));
    let layer = |seed| encoder((true, false), seed).layers.remove(0);
    check_transparency(layer(1), layer(2));
    let layer = |seed| decoder((true, false), seed).layers.remove(0);
    check_transparency(layer(1), layer(2));
}
