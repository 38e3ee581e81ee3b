//! Rates drop in training only, in each of their places.

use burn::module::{AutodiffModule, Initializer};
use burn::nn::{Linear, LinearConfig};
use mac_burn::SelfAttention;

use super::{D_MODEL, Gpt, config, tokens};
use crate::testing::{TrainBackend, assert_drops_in_training_only};

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
