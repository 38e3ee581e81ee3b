//! The cost of recording attention: one pass over the probabilities, and nothing that outlives the forward
//! and the backward pass but the sums.

#[path = "support/attention.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod attention;
#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;
mod support;

use attention::*;
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::attention::{MhaInput, MultiHeadAttentionConfig};
use burn::tensor::Tensor;
use counting::{Counting, elements, passes_over, tensors_of};
use mac_burn::{
    AttentionInput, MacConfig, MacMultiHeadAttention, MacSelfAttention, SelfAttentionConfig,
};
use support::random;

type B = Autodiff<Counting>;

/// Elements of the probabilities, which no other tensor has but the scores before them.
const PROBABILITIES: usize = BATCH * HEADS * KEYS * KEYS;

/// The cost of a forward and a backward pass.
#[derive(Debug)]
struct Cost {
    /// Operations that read a tensor as large as the probabilities, in the forward pass.
    passes: isize,
    /// Tensors as large as the probabilities that wait for the backward pass.
    waiting: isize,
    /// Elements that are left when the gradients are dropped.
    left: isize,
}

fn cost(forward: impl FnOnce() -> Tensor<B, 3>) -> Cost {
    let (passes, waiting, left) = (
        passes_over(PROBABILITIES),
        tensors_of(PROBABILITIES),
        elements(),
    );
    let output = forward();
    let passes = passes_over(PROBABILITIES) as isize - passes as isize;
    let waiting = tensors_of(PROBABILITIES) as isize - waiting as isize;
    drop(output.sum().backward());
    assert_eq!(tensors_of(PROBABILITIES), 0);
    Cost {
        passes,
        waiting,
        left: elements() as isize - left as isize,
    }
}

/// Elements of the sums of a layer's inputs and of their squares. The host knows the number of rows, unless a mask decides: then the device has
/// it, which also is what a bias saw.
fn input_sums(padded: bool) -> usize {
    2 * SIZE + usize::from(padded)
}

/// Elements of the sums of attended values: two vectors, what a bias saw, and the number of rows.
const ATTENDED_SUMS: usize = 2 * SIZE + 2;

/// Elements of the sums of a fused projection: those of its two means, both as attended values have them.
const FUSED_SUMS: usize = 2 * ATTENDED_SUMS;

/// Breaks when recording reads the probabilities twice, keeps them until the sums are taken, or keeps a
/// graph: that of an input which requires a gradient itself, too.
fn check(plain: Cost, recorded: Cost, sums: usize) {
    assert_eq!(recorded.passes, plain.passes + 1);
    assert_eq!(recorded.waiting, plain.waiting);
    assert_eq!(plain.left, 0);
    assert_eq!(recorded.left, sums as isize);
}

/// Breaks when evaluation records.
fn assert_free(evaluation: impl FnOnce() -> Tensor<Counting, 3>) {
    let before = elements();
    drop(evaluation());
    assert_eq!(elements(), before);
}

/// One test, since the counts are of the whole process. Before an optimizer is made a pass counts at once, and after that
/// when its backward pass runs; until then its graph holds the sums.
#[test]
fn recording_reads_the_probabilities_once_and_keeps_sums_only() {
    check_all_layers();
    let _optimizer = MacConfig::new().init_preconditioner::<B>();
    check_all_layers();
}

fn check_all_layers() {
    let device = Default::default();
    let config = MultiHeadAttentionConfig::new(SIZE, HEADS).with_dropout(0.0);
    let plain = config.init::<B>(&device);
    let fused = SelfAttentionConfig::new(SIZE, HEADS).init::<B>(&device);
    let tokens: Tensor<B, 3> = random([BATCH, KEYS, SIZE], 1);
    let mask = mask_pad([BATCH, KEYS], LENGTHS);
    // Parameters are made at their first use.
    cost(|| plain.forward(MhaInput::self_attn(tokens.clone())).context);
    cost(|| fused.forward(tokens.clone(), None));

    for tokens in [tokens.clone(), tokens.require_grad()] {
        for padded in [false, true] {
            let recorded: MacMultiHeadAttention<B> = plain.clone().into();
            let mut theirs = MhaInput::self_attn(tokens.clone());
            let mut ours = AttentionInput::self_attn(tokens.clone());
            if padded {
                theirs = theirs.mask_pad(mask.clone());
                ours = ours.mask_pad(mask.clone());
            }
            let expected = cost(|| plain.forward(theirs).context);
            let found = cost(|| recorded.forward(ours).context);
            check(expected, found, 3 * input_sums(padded) + ATTENDED_SUMS);
            let evaluated = recorded.valid();
            let input = AttentionInput::self_attn(tokens.clone().inner());
            assert_free(|| evaluated.forward(input.clone()).context);

            let recorded: MacSelfAttention<B> = fused.clone().into();
            let mask = padded.then(|| mask.clone());
            let expected = cost(|| fused.forward(tokens.clone(), mask.clone()));
            let found = cost(|| recorded.forward(tokens.clone(), mask));
            check(expected, found, FUSED_SUMS + input_sums(padded));
            let evaluated = recorded.valid();
            assert_free(|| evaluated.forward(tokens.clone().inner(), None));
        }
    }
}
