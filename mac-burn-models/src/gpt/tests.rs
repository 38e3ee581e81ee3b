//! The network against the same one of plain layers.

use burn::module::{AutodiffModule, Initializer, Module};
use burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear,
    LinearConfig,
};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use mac_burn::{SelfAttention, SelfAttentionConfig};

use super::*;
use crate::testing::{
    TestBackend, TrainBackend, assert_drops_in_training_only, num_params, through_a_file,
    uncovered_and_covered,
};
use crate::transformer::Gelu;

/// Of every size another number, so that no two can be exchanged.
const D_MODEL: usize = 8;
const HEADS: usize = 2;
const VOCABULARY: usize = 11;
const CONTEXT: usize = 7;
const BLOCKS: usize = 3;

#[derive(Module, Debug)]
struct PlainFeedForward<B: Backend> {
    fc1: Linear<B>,
    gelu: Gelu,
    dropout: Dropout,
    fc2: Linear<B>,
}

#[derive(Module, Debug)]
struct PlainBlock<B: Backend> {
    norm1: LayerNorm<B>,
    attention: SelfAttention<B>,
    norm2: LayerNorm<B>,
    mlp: PlainFeedForward<B>,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct PlainGpt<B: Backend> {
    token_embedding: Embedding<B>,
    position_embedding: Embedding<B>,
    dropout: Dropout,
    blocks: Vec<PlainBlock<B>>,
    norm: LayerNorm<B>,
}

fn config(bias: bool) -> GptConfig {
    GptConfig::new(VOCABULARY)
        .with_context_size(CONTEXT)
        .with_n_layers(BLOCKS)
        .with_n_heads(HEADS)
        .with_d_model(D_MODEL)
        .with_bias(bias)
}

fn plain_block(bias: bool) -> PlainBlock<TestBackend> {
    let device = Default::default();
    let no_dropout = DropoutConfig::new(0.0).init();
    let norm = LayerNormConfig::new(D_MODEL).with_bias(bias);
    let linear = |size, size_output| LinearConfig::new(size, size_output).with_bias(bias);
    PlainBlock {
        norm1: norm.init(&device),
        attention: SelfAttentionConfig::new(D_MODEL, HEADS)
            .with_causal(true)
            .with_qkv_bias(bias)
            .with_output_bias(bias)
            .init(&device),
        norm2: norm.init(&device),
        mlp: PlainFeedForward {
            fc1: linear(D_MODEL, 4 * D_MODEL).init(&device),
            gelu: Gelu::default(),
            dropout: no_dropout.clone(),
            fc2: linear(4 * D_MODEL, D_MODEL).init(&device),
        },
        dropout: no_dropout,
    }
}

fn plain(bias: bool) -> PlainGpt<TestBackend> {
    let device = Default::default();
    PlainGpt {
        token_embedding: EmbeddingConfig::new(VOCABULARY, D_MODEL).init(&device),
        position_embedding: EmbeddingConfig::new(CONTEXT, D_MODEL).init(&device),
        dropout: DropoutConfig::new(0.0).init(),
        blocks: (0..BLOCKS).map(|_| plain_block(bias)).collect(),
        norm: LayerNormConfig::new(D_MODEL).with_bias(bias).init(&device),
    }
}

impl<B: Backend> PlainBlock<B> {
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x), None);
        let mlp = &self.mlp;
        let hidden = mlp
            .gelu
            .forward(mlp.fc1.forward(self.norm2.forward(x.clone())));
        x + mlp.fc2.forward(hidden)
    }
}

impl<B: Backend> PlainGpt<B> {
    /// Looks positions up as tokens are, and gives the head a sample at a time.
    fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [batch, length] = tokens.dims();
        let positions = Tensor::arange(0..length as i64, &tokens.device()).unsqueeze();
        let embedded = self.token_embedding.forward(tokens);
        let x = embedded + self.position_embedding.forward(positions);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = self.norm.forward(x);
        let head = self.token_embedding.weight.val().transpose();
        let logits = (0..batch).map(|sample| {
            let sample = x.clone().narrow(0, sample, 1).reshape([length, D_MODEL]);
            sample.matmul(head.clone()).unsqueeze::<3>()
        });
        Tensor::cat(logits.collect(), 0)
    }
}

fn tokens<B: Backend>() -> Tensor<B, 2, Int> {
    Tensor::from_data([[3, 10, 0, 7, 1], [2, 2, 9, 5, 4]], &Default::default())
}

/// Two orders of summation of eight products differ by a few times 1.2e-7 of their size, which is up to 10; an error in
/// the network is of that size itself.
const ROUNDING: f32 = 1e-5;

#[test]
fn a_record_of_plain_layers_gives_the_same_logits() {
    for bias in [true, false] {
        let plain = plain(bias);
        let expected = plain.forward(tokens());

        let recorded: Gpt<TestBackend> =
            through_a_file(plain, config(bias).init(&Default::default()));
        let logits = recorded.forward(tokens());

        assert_eq!(logits.dims(), [2, 5, VOCABULARY]);
        let difference = (logits - expected).abs().max().into_scalar();
        assert!(difference < ROUNDING, "{difference}");
    }
}

#[test]
fn a_token_does_not_change_the_logits_before_it() {
    let gpt = config(true).init::<TestBackend>(&Default::default());
    let logits = gpt.forward(tokens());
    let shorter = gpt.forward(tokens().narrow(1, 0, 4));
    let difference = (logits.narrow(1, 0, 4) - shorter).abs().max().into_scalar();

    assert!(difference < ROUNDING, "{difference}");
}

/// Breaks when a layer is called without its recorder, as through the layer that it holds.
#[test]
fn every_layer_but_the_tied_head_is_recorded() {
    let gpt = config(true).init::<TrainBackend>(&Default::default());
    let (uncovered, covered) = uncovered_and_covered(gpt, |gpt| gpt.forward(tokens()));

    assert_eq!(uncovered, ["token_embedding", "position_embedding"]);
    assert_eq!(covered, 4 * BLOCKS);
}

#[test]
fn the_constructors_have_the_documented_numbers_of_parameters() {
    let parameters =
        |config: GptConfig| num_params(&config.init::<TestBackend>(&Default::default()));

    assert_eq!(parameters(GptConfig::gpt2()), 124_439_808);
    assert_eq!(parameters(GptConfig::new(50_304)), 124_475_904);
    assert_eq!(parameters(GptConfig::mac_small()), 19_304_704);
    assert_eq!(parameters(GptConfig::characters()), 10_745_088);
}

#[test]
fn what_writes_to_the_residual_stream_starts_smaller() {
    let gpt = GptConfig::new(VOCABULARY)
        .with_n_layers(2)
        .with_n_heads(2)
        .with_d_model(96)
        .init::<TestBackend>(&Default::default());
    let block = &gpt.blocks[1];
    // The least of these layers has 9216 weights, see the same test of DeiT.
    for (layer, expected) in [
        (&block.attention.qkv, 0.02),
        (&block.attention.output, 0.01),
        (&*block.mlp.fc1, 0.02),
        (&*block.mlp.fc2, 0.01),
    ] {
        let std: f32 = layer
            .weight
            .val()
            .powi_scalar(2)
            .mean()
            .sqrt()
            .into_scalar();
        assert!(
            (std / expected - 1.0).abs() < 0.037,
            "{std}, not {expected}"
        );
        let bias = layer.bias.as_ref().map(|bias| bias.val());
        let bias = bias.expect("these layers have a bias").abs().sum();
        assert_eq!(bias.into_scalar(), 0.0);
    }
}

#[test]
#[should_panic(expected = "the context holds 1 to 4 tokens (context_size), and there are 5")]
fn more_tokens_than_the_context_holds_are_refused() {
    let gpt = config(true)
        .with_context_size(4)
        .init::<TestBackend>(&Default::default());
    gpt.forward(tokens());
}

/// Breaks when the backend is asked for no position, which some of them answer with a panic of their own.
#[test]
#[should_panic(expected = "the context holds 1 to 7 tokens (context_size), and there are 0")]
fn no_token_is_refused() {
    let gpt = config(true).init::<TestBackend>(&Default::default());
    gpt.forward(Tensor::empty([2, 0], &Default::default()));
}

/// The rate of the tests that drop values in training.
const RATE: f64 = 0.5;

fn assert_drops(gpt: &Gpt<TrainBackend>) {
    assert_drops_in_training_only(|| gpt.forward(tokens()), || gpt.valid().forward(tokens()));
}

#[test]
fn each_rate_drops_in_training_only() {
    for config in [
        config(true).with_embedding_dropout(RATE),
        config(true).with_attention_dropout(RATE),
        config(true).with_residual_dropout(RATE),
    ] {
        assert_drops(&config.init(&Default::default()));
    }
}

/// Breaks when one of the two branches is not dropped.
#[test]
fn both_branches_are_dropped() {
    for attends in [true, false] {
        let config = config(true).with_residual_dropout(RATE).with_n_layers(1);
        let mut gpt = config.init(&Default::default());
        let block = &mut gpt.blocks[0];
        if attends {
            block.mlp.fc2 = silent(4 * D_MODEL).into();
        } else {
            let attention = SelfAttention {
                output: silent(D_MODEL),
                ..block.attention.clone().into_inner()
            };
            block.attention = attention.into();
        }
        assert_drops(&gpt);
    }
}

fn silent(size: usize) -> Linear<TrainBackend> {
    LinearConfig::new(size, D_MODEL)
        .with_initializer(Initializer::Zeros)
        .init(&Default::default())
}
