use super::Recorder;
use super::attention_sums::{attended_sums, valid_token_sums};
use super::layer::LayerParameters;
use super::statistics::untracked;
use burn::nn::Linear;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// What the linear maps of attention see. Masks are true at padded positions, which count in no mean.
impl<B: Backend> Recorder<B> {
    /// Records the tokens that a linear layer sees.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, tokens, size_input]`
    /// - padded: `[batch, tokens]`
    pub(super) fn record_tokens(
        &self,
        layer: &Linear<B>,
        input: &Tensor<B, 3>,
        padded: Option<&Tensor<B, 2, Bool>>,
    ) {
        if self.wants(&input.device()) && layer.weight.is_require_grad() {
            let sums = valid_token_sums(untracked(input), padded);
            self.add(LayerParameters::linear(layer), sums);
        }
    }

    /// Records what a value projection sees through attention.
    ///
    /// # Shapes
    ///
    /// - probabilities: `[batch, heads, queries, keys]`
    /// - values: `[batch, keys, size_input]`
    /// - queries_padded: `[batch, queries]`
    /// - keys_padded: `[batch, keys]`
    pub(super) fn record_attended(
        &self,
        layer: &Linear<B>,
        probabilities: &Tensor<B, 4>,
        values: &Tensor<B, 3>,
        queries_padded: Option<&Tensor<B, 2, Bool>>,
        keys_padded: Option<&Tensor<B, 2, Bool>>,
    ) {
        if self.wants(&values.device()) && layer.weight.is_require_grad() {
            let (probabilities, values) = (untracked(probabilities), untracked(values));
            let sums = attended_sums(probabilities, values, queries_padded, keys_padded);
            self.add(LayerParameters::linear(layer), sums);
        }
    }

    /// Records what a projection to queries, keys and values sees: the tokens, and the tokens through
    /// attention.
    ///
    /// # Shapes
    ///
    /// - probabilities: `[batch, heads, tokens, tokens]`
    /// - input: `[batch, tokens, size_input]`
    /// - padded: `[batch, tokens]`
    pub(super) fn record_fused(
        &self,
        layer: &Linear<B>,
        probabilities: &Tensor<B, 4>,
        input: &Tensor<B, 3>,
        padded: Option<&Tensor<B, 2, Bool>>,
    ) {
        if self.wants(&input.device()) && layer.weight.is_require_grad() {
            let (probabilities, input) = (untracked(probabilities), untracked(input));
            let tokens = valid_token_sums(input.clone(), padded);
            let attended = attended_sums(probabilities, input, padded, padded);
            let sums = Tensor::cat(vec![tokens, attended], 0);
            self.add(LayerParameters::fused_attention(layer), sums);
        }
    }
}
