//! Sums of what attention's linear maps see, in the form of [`statistics`](super::statistics).

use super::statistics::{self, at_least_f32};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};

/// Which tokens of a batch count: 1, or 0 for a padded position.
///
/// # Shapes
///
/// - `[batch, tokens]`
#[derive(Debug, Clone)]
pub(crate) struct Validity<B: Backend>(Tensor<B, 2>);

impl<B: Backend> Validity<B> {
    /// From a mask that is true at padded positions, for statistics of inputs like `like`.
    pub(crate) fn of_mask<const D: usize>(
        mask_pad: &Tensor<B, 2, Bool>,
        like: &Tensor<B, D>,
    ) -> Self {
        let dtype = match like.dtype() {
            DType::F16 | DType::BF16 => DType::F32,
            wide => wide,
        };
        Self(mask_pad.clone().bool_not().float().cast(dtype))
    }
}

/// The sum over the valid tokens.
///
/// # Shapes
///
/// - input: `[batch, tokens, size]`
/// - output: `[1, size + 2]`
pub(crate) fn token_sums<B: Backend>(
    input: Tensor<B, 3>,
    valid: Option<&Validity<B>>,
) -> Tensor<B, 2> {
    let Some(Validity(valid)) = valid else {
        return statistics::token_sums(input);
    };
    let [batch, tokens, size] = input.dims();
    let weights = valid.clone().reshape([1, batch * tokens]);
    let rows = at_least_f32(input).reshape([batch * tokens, size]);
    let count = weights.clone().sum_dim(1);
    Tensor::cat(vec![weights.matmul(rows), count.clone(), count], 1)
}

/// The attention-weighted sum that the value projection sees: `v̄ = Σ_n ᾱ_n X̄_n` times the number of
/// valid queries, where `ᾱ` is the mean of the probabilities over batch, heads and queries, and `X̄_n`
/// the mean of the value input at position `n` over the batch.
///
/// Its second last entry is `Σ_n ᾱ_n`: 1, or less with a quiet softmax.
///
/// # Shapes
///
/// - probabilities: `[batch, heads, queries, keys]`
/// - values: `[batch, keys, size]`
/// - output: `[1, size + 2]`
pub(crate) fn attended_sums<B: Backend>(
    probabilities: Tensor<B, 4>,
    values: Tensor<B, 3>,
    queries_valid: Option<&Validity<B>>,
    keys_valid: Option<&Validity<B>>,
) -> Tensor<B, 2> {
    let values = at_least_f32(values);
    let (attention, count) = match queries_valid {
        None => mean_over_all(probabilities),
        Some(valid) => mean_over_valid(probabilities, valid),
    };
    let kept = attention.clone().sum_dim(1);
    let attended = attention.matmul(position_means(values, keys_valid));
    Tensor::cat(vec![attended, kept, count.ones_like()], 1) * count
}

/// `ᾱ`, `[1, keys]`, and the number of queries, `[1, 1]`: one reduction over the probabilities.
fn mean_over_all<B: Backend>(probabilities: Tensor<B, 4>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let [batch, heads, queries, keys] = probabilities.dims();
    let rows = batch * heads * queries;
    let sum = at_least_f32(probabilities).reshape([rows, keys]).sum_dim(0);
    let count = Tensor::full(
        [1, 1],
        (batch * queries) as f64,
        (&sum.device(), sum.dtype()),
    );
    (sum.div_scalar(rows as f64), count)
}

fn mean_over_valid<B: Backend>(
    probabilities: Tensor<B, 4>,
    Validity(valid): &Validity<B>,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let [batch, heads, queries, keys] = probabilities.dims();
    let weights = valid
        .clone()
        .reshape([batch, 1, queries])
        .expand([batch, heads, queries])
        .reshape([1, batch * heads * queries]);
    let rows = at_least_f32(probabilities).reshape([batch * heads * queries, keys]);
    let count = valid.clone().reshape([1, batch * queries]).sum_dim(1);
    let sum = weights.matmul(rows);
    (sum / (count.clone() * heads as f64), count)
}

/// The mean over the batch at each position, `[keys, size]`; 0 where no sample has a token.
fn position_means<B: Backend>(values: Tensor<B, 3>, valid: Option<&Validity<B>>) -> Tensor<B, 2> {
    let [batch, keys, size] = values.dims();
    let Some(Validity(valid)) = valid else {
        let sums = values.sum_dim(0).reshape([keys, size]);
        return sums.div_scalar(batch as f64);
    };
    let valid = valid.clone().unsqueeze_dim::<3>(2);
    let sums = (values * valid.clone()).sum_dim(0).reshape([keys, size]);
    let counts = valid.sum_dim(0).reshape([keys, 1]);
    sums / counts.clamp_min(1.0)
}
