//! Sums of what attention's linear maps see. Masks are true at padded positions.

use super::activation_sums::{ActivationSums, Rows};
use crate::precision::at_least_f32;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};

/// The sum over the tokens that are not padded.
///
/// # Shapes
///
/// - input: `[batch, tokens, size]`
/// - padded: `[batch, tokens]`
pub(crate) fn valid_token_sums<B: Backend>(
    input: Tensor<B, 3>,
    padded: Option<&Tensor<B, 2, Bool>>,
) -> ActivationSums<B> {
    let Some(padded) = padded else {
        return ActivationSums::of_rows(input);
    };
    let [batch, tokens, size] = input.dims();
    let rows = at_least_f32(input).reshape([batch * tokens, size]);
    let valid = valid(padded, rows.dtype()).reshape([1, batch * tokens]);
    let count = valid.clone().sum_dim(1);
    ActivationSums {
        inputs: valid.matmul(rows),
        rows: Rows::Weighed {
            ones: count.clone(),
            count,
        },
    }
}

/// What the value projection sees through attention, times the number of valid queries:
/// `v̄ = Σ_n ᾱ_n X̄_n`, where `ᾱ` is the mean of the probabilities over batch, heads and queries, and
/// `X̄_n` the mean of the values at position `n` over the batch.
///
/// A bias sees `Σ_n ᾱ_n`: 1, or less with a quiet softmax. A sample whose keys are all padded has no valid
/// query. The sums of a batch without a valid query are 0.
///
/// # Shapes
///
/// - probabilities: `[batch, heads, queries, keys]`
/// - values: `[batch, keys, size]`
/// - queries_padded: `[batch, queries]`
/// - keys_padded: `[batch, keys]`
pub(crate) fn attended_sums<B: Backend>(
    probabilities: Tensor<B, 4>,
    values: Tensor<B, 3>,
    queries_padded: Option<&Tensor<B, 2, Bool>>,
    keys_padded: Option<&Tensor<B, 2, Bool>>,
) -> ActivationSums<B> {
    let [_, _, queries, _] = probabilities.dims();
    let (attention, count) = match uncounted_queries(queries, queries_padded, keys_padded) {
        None => attention_mean(probabilities),
        Some(uncounted) => valid_attention_mean(probabilities, &uncounted),
    };
    let values = position_means(at_least_f32(values), keys_padded);
    let ones = attention.clone().sum_dim(1) * count.clone();
    ActivationSums {
        inputs: attention.matmul(values) * count.clone(),
        rows: Rows::Weighed { ones, count },
    }
}

/// 1 for a token that counts, 0 for one that is padded.
fn valid<B: Backend>(padded: &Tensor<B, 2, Bool>, dtype: DType) -> Tensor<B, 2> {
    padded.clone().bool_not().float().cast(dtype)
}

/// The queries that are padded or have padded keys only, `[batch, queries]`. What the latter attend to, as much
/// to one key as to another, would be taken for attention to other samples' values at these positions.
fn uncounted_queries<B: Backend>(
    queries: usize,
    queries_padded: Option<&Tensor<B, 2, Bool>>,
    keys_padded: Option<&Tensor<B, 2, Bool>>,
) -> Option<Tensor<B, 2, Bool>> {
    let Some(keys_padded) = keys_padded else {
        return queries_padded.cloned();
    };
    let [batch, _] = keys_padded.dims();
    let without_keys = keys_padded.clone().all_dim(1).expand([batch, queries]);
    Some(match queries_padded {
        Some(padded) => padded.clone().bool_or(without_keys),
        None => without_keys,
    })
}

/// `ᾱ`, `[1, keys]`, and the number of queries, `[1, 1]`.
fn attention_mean<B: Backend>(probabilities: Tensor<B, 4>) -> (Tensor<B, 2>, Tensor<B, 2>) {
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

/// The same of the valid queries.
fn valid_attention_mean<B: Backend>(
    probabilities: Tensor<B, 4>,
    padded: &Tensor<B, 2, Bool>,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let [batch, heads, queries, keys] = probabilities.dims();
    let rows = at_least_f32(probabilities).reshape([batch * heads * queries, keys]);
    let valid = valid(padded, rows.dtype());
    let count = valid.clone().reshape([1, batch * queries]).sum_dim(1);
    let sum = valid
        .reshape([batch, 1, queries])
        .expand([batch, heads, queries])
        .reshape([1, batch * heads * queries])
        .matmul(rows);
    let divisor = count.clone().clamp_min(1.0).mul_scalar(heads as f64);
    (sum / divisor, count)
}

/// The mean over the batch at each position, `[keys, size]`; 0 where the whole batch is padded.
fn position_means<B: Backend>(
    values: Tensor<B, 3>,
    padded: Option<&Tensor<B, 2, Bool>>,
) -> Tensor<B, 2> {
    let [batch, keys, size] = values.dims();
    let Some(padded) = padded else {
        let sums = values.sum_dim(0).reshape([keys, size]);
        return sums.div_scalar(batch as f64);
    };
    let valid = valid(padded, values.dtype()).reshape([batch, keys, 1]);
    let sums = (values * valid.clone()).sum_dim(0).reshape([keys, size]);
    let counts = valid.sum_dim(0).reshape([keys, 1]);
    sums / counts.clamp_min(1.0)
}
