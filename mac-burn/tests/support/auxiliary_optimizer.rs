//! A MAC with AdamW for what it does not cover, for the tests of the two together.

use super::support::{B, Network};
use burn::optim::{AdamW, AdamWConfig};
use mac_burn::{Mac, MacConfig};

pub type Both = Mac<Network<B>, B, AdamW>;

pub const STEPS: u64 = 6;
pub const LR: f64 = 0.05;

/// The places of trained parameters in the values of the network: weight and bias of `conv`, gamma and
/// beta of `norm`, the weight of `hidden`, weight and bias of `output`. Running statistics are at 4
/// and 5.
pub const TRAINED: [usize; 7] = [0, 1, 2, 3, 6, 7, 8];
pub const NORM: [usize; 2] = [2, 3];
pub const GAMMA: usize = 2;
pub const HIDDEN: usize = 6;

/// With settings that AdamW does not share, so that they show where they do not belong.
pub fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_weight_decay(0.5)
        .with_no_decay_norms_and_biases(true)
}

pub fn adamw() -> AdamWConfig {
    AdamWConfig::new().with_weight_decay(0.1)
}

pub fn both(config: MacConfig, lr_factor: f64) -> Both {
    config
        .init()
        .with_auxiliary_optimizer(adamw().init(), lr_factor)
        .expect("the factor is allowed")
}

/// The places of the trained parameters that are bitwise the same.
pub fn same(left: &[Vec<f64>], right: &[Vec<f64>]) -> Vec<usize> {
    let same = TRAINED
        .iter()
        .filter(|index| left[**index] == right[**index]);
    same.copied().collect()
}

pub fn all_but(places: &[usize]) -> Vec<usize> {
    let rest = TRAINED.iter().filter(|index| !places.contains(index));
    rest.copied().collect()
}
