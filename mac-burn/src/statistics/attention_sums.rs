//! Sums of what attention's linear maps see. Masks are true at padded positions.

use super::activation_sums::{ActivationSums, Rows, untracked};
use super::second_moments::counted;
use crate::precision::{at_least_f32, full_precision_matmul};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// The input of attention's value projection: `A X`, the attention probabilities times the values.
///
/// With it a layer of your own records its value projection as [`MacMultiHeadAttention`](crate::MacMultiHeadAttention)
/// does. Rotary, causal, grouped-query attention, in which several query heads share a head of keys and values:
///
/// ```
/// use burn::module::Module;
/// use burn::nn::attention::generate_autoregressive_mask;
/// use burn::nn::{Linear, LinearConfig, RotaryEncoding, RotaryEncodingConfig};
/// use burn::tensor::{Tensor, activation::softmax, backend::Backend};
/// use mac_burn::{AttendedValues, MacLinear, Recorder};
///
/// #[derive(Module, Debug)]
/// struct GroupedQueryAttention<B: Backend> {
///     query: MacLinear<B>,
///     key: MacLinear<B>,
///     value: Linear<B>,
///     attended: Recorder<B>,
///     output: MacLinear<B>,
///     rotary: RotaryEncoding<B>,
///     n_heads: usize,
///     n_kv_heads: usize,
/// }
///
/// impl<B: Backend> GroupedQueryAttention<B> {
///     fn new(d_head: usize, n_heads: usize, n_kv_heads: usize, device: &B::Device) -> Self {
///         let (d_model, d_kv) = (n_heads * d_head, n_kv_heads * d_head);
///         Self {
///             query: LinearConfig::new(d_model, d_model).init(device).into(),
///             key: LinearConfig::new(d_model, d_kv).init(device).into(),
///             value: LinearConfig::new(d_model, d_kv).init(device),
///             attended: Recorder::new(),
///             output: LinearConfig::new(d_model, d_model).init(device).into(),
///             rotary: RotaryEncodingConfig::new(64, d_head).init(device),
///             n_heads,
///             n_kv_heads,
///         }
///     }
///
///     /// `[batch, tokens, d_model]` to the same.
///     fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
///         let [batch, tokens, d_model] = x.dims();
///         let d_head = d_model / self.n_heads;
///         let heads = |projected: Tensor<B, 3>, n| {
///             projected.reshape([batch, tokens, n, d_head]).swap_dims(1, 2)
///         };
///         // A head of keys or values for each head of queries.
///         let shared = |heads: Tensor<B, 4>| {
///             let groups = self.n_heads / self.n_kv_heads;
///             let repeated = heads.unsqueeze_dim::<5>(2).repeat_dim(2, groups);
///             repeated.reshape([batch, self.n_heads, tokens, d_head])
///         };
///         let query = self.rotary.forward(heads(self.query.forward(x.clone()), self.n_heads));
///         let key = self.rotary.forward(heads(self.key.forward(x.clone()), self.n_kv_heads));
///         let value = heads(self.value.forward(x.clone()), self.n_kv_heads);
///
///         let scores = query.matmul(shared(key).transpose()) / (d_head as f64).sqrt();
///         let mask = generate_autoregressive_mask::<B>(1, tokens, &x.device());
///         let mask = mask.reshape([1, 1, tokens, tokens]).expand(scores.shape());
///         let probabilities = softmax(scores.mask_fill(mask, -1e4), 3);
///
///         let value = self.attended.record_attended(
///             &self.value.weight,
///             self.value.bias.as_ref(),
///             AttendedValues::new(&probabilities, &x),
///             value,
///         );
///         let context = probabilities.matmul(shared(value)).swap_dims(1, 2);
///         self.output.forward(context.reshape([batch, tokens, d_model]))
///     }
/// }
/// # use burn::optim::{GradientsParams, Optimizer};
/// # use burn::tensor::Distribution;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// # let layer = GroupedQueryAttention::<B>::new(4, 4, 2, &device);
/// # let mut optim = mac_burn::MacConfig::new().init();
/// # let tokens = Tensor::random([2, 5, 16], Distribution::Default, &device);
/// # let grads = layer.forward(tokens).square().sum().backward();
/// # let grads = GradientsParams::from_grads(grads, &layer);
/// # let layer = optim.step(0.1, layer, grads);
/// # let report = optim.report(&layer);
/// # assert_eq!(report.covered_parameters, report.parameters);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AttendedValues<'a, B: Backend> {
    /// `A`, those of the forward pass with its masks, `[batch, heads, queries, keys]`. The heads are those of the
    /// queries, also where several share a head of keys and values.
    pub probabilities: &'a Tensor<B, 4>,
    /// `X`, the input of the value projection, `[batch, keys, size_input]`.
    pub values: &'a Tensor<B, 3>,
    /// True at queries that are padding, `[batch, queries]`: they count in no mean.
    pub queries_padded: Option<&'a Tensor<B, 2, Bool>>,
    /// True at keys that are padding, `[batch, keys]`: they count in no mean.
    pub keys_padded: Option<&'a Tensor<B, 2, Bool>>,
}

impl<'a, B: Backend> AttendedValues<'a, B> {
    /// Attention without padding.
    pub fn new(probabilities: &'a Tensor<B, 4>, values: &'a Tensor<B, 3>) -> Self {
        Self {
            probabilities,
            values,
            queries_padded: None,
            keys_padded: None,
        }
    }
}

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
    let valid = counted(padded, rows.dtype()).reshape([1, batch * tokens]);
    let count = valid.clone().sum_dim(1);
    ActivationSums {
        squares: full_precision_matmul(valid.clone(), rows.clone().square()),
        inputs: full_precision_matmul(valid, rows),
        rows: Rows::Weighed {
            ones: count.clone(),
            count,
        },
    }
}

/// The sums of the value projection's inputs through attention, times the number of valid queries:
/// `v̄ = Σ_n ᾱ_n X̄_n`, where `ᾱ` is the mean of the probabilities over batch, heads and queries, and
/// `X̄_n` the mean of the values at position `n` over the batch.
///
/// The squares are averaged in the same way, `Σ_n ᾱ_n E[x_n²]`. Those of what each query sees would need `heads · queries` vectors of
/// the input's size for each sample.
///
/// A bias sees `Σ_n ᾱ_n`: 1, or less with a quiet softmax. A sample whose keys are all padded has no valid
/// query. The sums of a batch without a valid query are 0.
pub(crate) fn attended_sums<B: Backend>(attended: &AttendedValues<'_, B>) -> ActivationSums<B> {
    let (queries_padded, keys_padded) = (attended.queries_padded, attended.keys_padded);
    let probabilities = untracked(attended.probabilities);
    let values = at_least_f32(untracked(attended.values));
    let [_, _, queries, _] = probabilities.dims();
    let (attention, count) = match uncounted_queries(queries, queries_padded, keys_padded) {
        None => attention_mean(probabilities),
        Some(uncounted) => valid_attention_mean(probabilities, &uncounted),
    };
    let [_, _, size] = values.dims();
    let squares = position_means(values.clone().square(), keys_padded);
    let values = position_means(values, keys_padded);
    let ones = attention.clone().sum_dim(1) * count.clone();
    let both = Tensor::cat(vec![values, squares], 1);
    let attended = full_precision_matmul(attention, both) * count.clone();
    ActivationSums {
        inputs: attended.clone().narrow(1, 0, size),
        squares: attended.narrow(1, size, size),
        rows: Rows::Weighed { ones, count },
    }
}

/// The queries that are padded or have padded keys only, `[batch, queries]`. What the latter attend to, as much
/// to one key as to another, would be taken for attention to other samples' values at these positions.
pub(super) fn uncounted_queries<B: Backend>(
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
    let valid = counted(padded, rows.dtype());
    let count = valid.clone().reshape([1, batch * queries]).sum_dim(1);
    let valid = valid
        .reshape([batch, 1, queries])
        .expand([batch, heads, queries])
        .reshape([1, batch * heads * queries]);
    let sum = full_precision_matmul(valid, rows);
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
    let valid = counted(padded, values.dtype()).reshape([batch, keys, 1]);
    let sums = (values * valid.clone()).sum_dim(0).reshape([keys, size]);
    let counts = valid.sum_dim(0).reshape([keys, 1]);
    sums / counts.clamp_min(1.0)
}
