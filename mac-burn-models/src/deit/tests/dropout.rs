//! Rates drop in training only, in each of their places.

use burn::module::{AutodiffModule, Initializer};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;
use mac_burn::SelfAttention;

use super::{D_MODEL, Deit, HIDDEN, config, random};
use crate::testing::{TrainBackend, assert_drops_in_training_only};

const RATE: f64 = 0.5;

/// Enough images that two passes never drop the branches of the same ones by chance.
const IMAGES: usize = 64;

fn assert_drops(deit: &Deit<TrainBackend>) {
    let images = random([IMAGES, 2, 8, 12]);
    assert_drops_in_training_only(
        || deit.forward(Tensor::from_inner(images.clone())),
        || deit.valid().forward(images.clone()),
    );
}

#[test]
fn each_rate_drops_in_training_only() {
    for config in [
        config().with_dropout(RATE),
        config().with_attention_dropout(RATE),
        config().with_head_dropout(RATE),
        config().with_drop_path(RATE),
    ] {
        assert_drops(&config.init(&Default::default()));
    }
}

/// Breaks when something else than what goes into the head is dropped: of values of 1 that the norm gives, a weight of 1 in each
/// place makes a sum of those that are left, scaled by two.
#[test]
fn the_head_sees_a_part_of_the_class_token() {
    let config = config().with_head_dropout(RATE).with_num_classes(1);
    let mut deit: Deit<TrainBackend> = config.init(&Default::default());
    deit.norm.gamma = Initializer::Zeros.init([D_MODEL], &Default::default());
    deit.norm.beta = Some(Initializer::Ones.init([D_MODEL], &Default::default()));
    deit.head = LinearConfig::new(D_MODEL, 1)
        .with_bias(false)
        .with_initializer(Initializer::Ones)
        .init(&Default::default())
        .into();
    let images = random([IMAGES, 2, 8, 12]);
    let sums = deit.forward(Tensor::from_inner(images.clone())).into_data();

    let whole = |sum: f32| sum % 2.0 == 0.0 && (0.0..=16.0).contains(&sum);
    assert!(sums.iter().all(whole), "{sums}");
    assert!(sums.iter().any(|sum: f32| sum != 8.0), "{sums}");
    let sums = deit.valid().forward(images).into_data();
    assert!(sums.iter().all(|sum: f32| sum == 8.0), "{sums}");
}

/// Breaks when tokens, hidden values or branches go without the dropout that they share.
#[test]
fn dropout_is_in_each_of_its_places() {
    for kept in 0..3 {
        let config = config().with_dropout(RATE).with_n_layers(1);
        let mut deit = config.init(&Default::default());
        let block = &mut deit.blocks[0];
        let places = [
            &mut deit.dropout,
            &mut block.mlp.dropout,
            &mut block.dropout,
        ];
        for (index, place) in places.into_iter().enumerate() {
            if index != kept {
                place.prob = 0.0;
            }
        }
        assert_drops(&deit);
    }
}

/// Breaks when one of the two branches is not dropped, neither its values nor as a whole.
#[test]
fn both_branches_are_dropped() {
    for attends in [true, false] {
        let mut deit = with_one_branch(attends);
        deit.blocks[0].dropout.prob = RATE;
        assert_drops(&deit);
        let mut deit = with_one_branch(attends);
        deit.blocks[0].drop_path.rate = RATE;
        assert_drops(&deit);
    }
}

/// A network of one block, where one branch adds nothing.
fn with_one_branch(attends: bool) -> Deit<TrainBackend> {
    let mut deit = config().with_n_layers(1).init(&Default::default());
    let block = &mut deit.blocks[0];
    if attends {
        block.mlp.fc2 = silent(HIDDEN).into();
    } else {
        let attention = SelfAttention {
            output: silent(D_MODEL),
            ..block.attention.clone().into_inner()
        };
        block.attention = attention.into();
    }
    deit
}

fn silent(size: usize) -> Linear<TrainBackend> {
    LinearConfig::new(size, D_MODEL)
        .with_initializer(Initializer::Zeros)
        .init(&Default::default())
}
