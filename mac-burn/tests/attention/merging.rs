//! The sum of attention's statistics over micro-batches.

use crate::attention::*;
use crate::support::{filled, random};
use burn::backend::Autodiff;
use burn::nn::attention::{MultiHeadAttention, MultiHeadAttentionConfig};
use burn::tensor::{Tensor, s};
use burn_ndarray::NdArray;
use mac_burn::{AttentionInput, MacMultiHeadAttention};

type F64 = Autodiff<NdArray<f64>>;

/// Sums in f64 in another order differ by rounding; merging by anything else than the number of queries
/// shows at 1e-3.
const ROUNDING: f64 = 1e-12;

/// The least difference of the merged mean from the whole batch's where the definition does not permit
/// merging: the values of the test are not such that it happens to be the same.
const EFFECT: f64 = 1e-3;

fn plain() -> MultiHeadAttention<F64> {
    let config = MultiHeadAttentionConfig::new(SIZE, HEADS).with_dropout(0.0);
    filled(config.init(&Default::default()), 1)
}

fn uniform() -> MultiHeadAttention<F64> {
    let mut layer = plain();
    layer.query = zeroed(layer.query);
    layer
}

/// The means of query, key, value and output that these forward passes leave together.
fn merged(layer: &MultiHeadAttention<F64>, inputs: &[[Tensor<F64, 3>; 3]]) -> [Vec<f64>; 4] {
    let layer: MacMultiHeadAttention<F64> = layer.clone().into();
    for [query, key, value] in inputs {
        let input = AttentionInput::new(query.clone(), key.clone(), value.clone());
        backward(layer.forward(input).context);
    }
    let preconditioner = observed(&layer);
    [&layer.query, &layer.key, &layer.value, &layer.output]
        .map(|linear| means(&preconditioner, &linear.weight))
}

/// The first sample, and the others.
fn parts(whole: &[Tensor<F64, 3>; 3]) -> [[Tensor<F64, 3>; 3]; 2] {
    let part = |from: usize, to: usize| whole.clone().map(|tensor| tensor.slice(s![from..to]));
    [part(0, 1), part(1, BATCH)]
}

fn assert_all_close(left: &[Vec<f64>], right: &[Vec<f64>], case: &str) {
    for (left, right) in left.iter().zip(right) {
        assert_close(left, right, ROUNDING, case);
    }
}

/// Breaks when unequal parts do not weigh by their size, where all attend alike.
#[test]
fn parts_that_attend_alike_add_up_to_the_whole_batch() {
    let whole = inputs(1);
    let found = merged(&uniform(), &parts(&whole));
    assert_all_close(&found, &merged(&uniform(), &[whole]), "uniform");
}

/// Breaks when unequal parts do not weigh by their queries, where all have the same values.
#[test]
fn parts_with_the_same_values_add_up_to_the_whole_batch() {
    let [query, key, value] = inputs(2);
    let value = value.slice(s![0..1]).repeat_dim(0, BATCH);
    let whole = [query, key, value];
    let found = merged(&plain(), &parts(&whole));
    assert_all_close(&found, &merged(&plain(), &[whole]), "same values");
}

/// Breaks when merging is anything else than the mean by queries, which is not the whole batch's.
#[test]
fn parts_merge_by_their_number_of_queries() {
    let whole = inputs(3);
    let [first, rest] = parts(&whole);
    let (alone, others) = (
        merged(&plain(), std::slice::from_ref(&first)),
        merged(&plain(), std::slice::from_ref(&rest)),
    );
    let found = merged(&plain(), &[first, rest]);
    let expected: Vec<Vec<f64>> = alone
        .iter()
        .zip(&others)
        .map(|(alone, others)| {
            let pairs = alone.iter().zip(others);
            let weighted = pairs.map(|(a, b)| (a + (BATCH - 1) as f64 * b) / BATCH as f64);
            weighted.collect()
        })
        .collect();
    assert_all_close(&found, &expected, "merged");

    let whole = merged(&plain(), &[whole]);
    for projection in [0, 1, 3] {
        let case = "all but the value projection";
        assert_close(&found[projection], &whole[projection], ROUNDING, case);
    }
    let pairs = found[2].iter().zip(&whole[2]);
    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(difference > EFFECT, "{difference:e}");
}

/// Breaks when padded queries weigh in the merging.
#[test]
fn parts_merge_by_their_valid_queries() {
    let layer: MacMultiHeadAttention<F64> = plain().into();
    let tokens: Tensor<F64, 3> = random([BATCH, KEYS, SIZE], 4);
    let record = |samples: std::ops::Range<usize>, padded: Padded| {
        let tokens = tokens.clone().slice(s![samples]);
        let mask = mask_pad([tokens.dims()[0], KEYS], padded);
        let input = AttentionInput::self_attn(tokens).mask_pad(mask);
        backward(layer.forward(input).context);
    };
    let taken = || means(&observed(&layer), &layer.value.weight);
    // One sample with 2 of 5 tokens, and two with 5.
    record(0..1, |_, position| position > 1);
    let short = taken();
    record(1..3, |_, _| false);
    let long = taken();
    record(0..1, |_, position| position > 1);
    record(1..3, |_, _| false);
    let pairs = short.iter().zip(&long);
    let expected: Vec<f64> = pairs.map(|(a, b)| (2.0 * a + 10.0 * b) / 12.0).collect();
    assert_close(&taken(), &expected, ROUNDING, "valid queries");
}
