//! Recorded attention drops what Burn's drops. The generator of random tensors is one for the process, so this file has a
//! single test.

mod support;

use burn::backend::Autodiff;
use burn::nn::attention::{CrossAttentionConfig, MhaInput, MultiHeadAttentionConfig};
use burn::nn::transformer::{
    TransformerDecoderConfig, TransformerDecoderInput, TransformerEncoderConfig,
    TransformerEncoderInput,
};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_ndarray::NdArray;
use mac_burn::{
    AttentionInput, DecoderInput, EncoderInput, MacCrossAttention, MacMultiHeadAttention,
    MacSelfAttention, MacTransformerDecoder, MacTransformerEncoder, SelfAttentionConfig,
};
use support::{filled, random};

type B = Autodiff<NdArray<f64>>;

const DROPOUT: f64 = 0.3;

fn seeded(pass: impl Fn() -> Tensor<B, 3>) -> TensorData {
    B::seed(&Default::default(), 7);
    pass().into_data()
}

fn check(plain: impl Fn() -> Tensor<B, 3>, recorded: impl Fn() -> Tensor<B, 3>) {
    let expected = seeded(plain);
    seeded(&recorded).assert_eq(&expected, true);
    // The generator has gone on, so that what drops something drops something else.
    assert_ne!(recorded().into_data(), expected);
}

/// Breaks when a recorded layer drops nothing, or in another place or order than Burn's.
#[test]
fn what_is_dropped_is_what_burn_drops() {
    let device = Default::default();
    let tokens: Tensor<B, 3> = random([3, 5, 8], 1);
    let memory: Tensor<B, 3> = random([3, 6, 8], 2);

    let config = MultiHeadAttentionConfig::new(8, 2).with_dropout(DROPOUT);
    let plain = filled(config.init(&device), 3);
    let recorded: MacMultiHeadAttention<B> = plain.clone().into();
    check(
        || plain.forward(MhaInput::self_attn(tokens.clone())).context,
        || {
            let input = AttentionInput::self_attn(tokens.clone());
            recorded.forward(input).context
        },
    );

    let config = CrossAttentionConfig::new(8, 8, 4, 2, 3).with_dropout(DROPOUT);
    let plain = filled(config.init(&device), 7);
    let recorded: MacCrossAttention<B> = plain.clone().into();
    check(
        || plain.forward(tokens.clone(), memory.clone(), None),
        || recorded.forward(tokens.clone(), memory.clone(), None),
    );

    let config = TransformerEncoderConfig::new(8, 12, 2, 2).with_dropout(DROPOUT);
    let plain = filled(config.init(&device), 4);
    let recorded: MacTransformerEncoder<B> = plain.clone().into();
    check(
        || plain.forward(TransformerEncoderInput::new(tokens.clone())),
        || recorded.forward(EncoderInput::new(tokens.clone())),
    );

    let config = TransformerDecoderConfig::new(8, 12, 2, 2).with_dropout(DROPOUT);
    let plain = filled(config.init(&device), 5);
    let recorded: MacTransformerDecoder<B> = plain.clone().into();
    check(
        || {
            let input = TransformerDecoderInput::new(tokens.clone(), memory.clone());
            plain.forward(input)
        },
        || recorded.forward(DecoderInput::new(tokens.clone(), memory.clone())),
    );

    let config = SelfAttentionConfig::new(8, 2).with_dropout(DROPOUT);
    let plain = filled(config.init(&device), 6);
    let recorded: MacSelfAttention<B> = plain.clone().into();
    check(
        || plain.forward(tokens.clone(), None),
        || recorded.forward(tokens.clone(), None),
    );
}
