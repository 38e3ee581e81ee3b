use crate::half_gradient::Columns;
use crate::half_layers::{Batches, HalfLayer, linear_columns, mean_row, values};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::MacSelfAttention;

impl<B: AutodiffBackend> HalfLayer<B> for MacSelfAttention<B> {
    fn loss(&self, batches: &mut Batches) -> (Tensor<B, 1>, Vec<(&'static str, Vec<f64>)>) {
        let tokens = batches.inputs::<B, 3>([8, 12, self.output.weight.dims()[0]]);
        let (probabilities, context) = attend(self, tokens.clone());
        let mean = mean_row(&tokens);
        let means = vec![
            ("queries", mean.clone()),
            ("keys", mean),
            ("values", attended_mean(&probabilities, &tokens)),
            ("output", mean_row(&context)),
        ];
        (batches.loss(self.forward(tokens, None)), means)
    }

    fn gradients(&self, grads: &GradientsParams) -> Vec<(&'static str, Columns)> {
        let fused = linear_columns(&self.qkv, grads);
        let parts = fused.chunks(fused.len() / 3).map(<[_]>::to_vec);
        let parts = parts.chain([linear_columns(&self.output, grads)]);
        let names = ["queries", "keys", "values", "output"];
        names.into_iter().zip(parts).collect()
    }
}

/// Probabilities, `[batch, heads, queries, keys]`, and the input of the output projection, by the layer's operations, so
/// that they round as its own do.
fn attend<B: AutodiffBackend>(
    layer: &MacSelfAttention<B>,
    tokens: Tensor<B, 3>,
) -> (Tensor<B, 4>, Tensor<B, 3>) {
    let [batch, count, size] = tokens.dims();
    let d_head = size / layer.n_heads;
    let all = layer.qkv.forward(tokens);
    let [query, key, value] = [0, 1, 2].map(|part| {
        all.clone()
            .narrow(2, part * size, size)
            .reshape([batch, count, layer.n_heads, d_head])
            .swap_dims(1, 2)
    });
    let scale = (d_head as f64).sqrt().recip();
    let probabilities = softmax(query.matmul(key.transpose()).mul_scalar(scale), 3);
    let context = probabilities.clone().matmul(value).swap_dims(1, 2);
    (probabilities, context.flatten(2, 3))
}

/// `Σ_n ᾱ_n X̄_n`: the probabilities averaged over batch, heads and queries, the tokens over the batch.
fn attended_mean<B: AutodiffBackend>(
    probabilities: &Tensor<B, 4>,
    tokens: &Tensor<B, 3>,
) -> Vec<f64> {
    let [batch, count, size] = tokens.dims();
    let attention = mean_row(probabilities);
    let tokens = values(tokens);
    let at = |token: usize, index: usize| {
        let of_batch = tokens.iter().skip(token * size + index);
        of_batch.step_by(count * size).sum::<f64>() / batch as f64
    };
    let element = |index| {
        (0..count)
            .map(|token| attention[token] * at(token, index))
            .sum()
    };
    (0..size).map(element).collect()
}
