use super::LayerGradients;
use super::vectors::{away_from_zero, scaled};
use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// What the gradients of a `Linear` with one mean are preconditioned with, within the memory of the gradient.
#[derive(Debug, Clone)]
pub(crate) struct Whole<B: Backend> {
    /// `x̄`, `[size, 1]`.
    mean: Tensor<B, 2>,
    /// `1 / x̄`, the same shape.
    reciprocal: Tensor<B, 2>,
    /// The augmentation, 1 (0 where no statistic has arrived yet), `[1, 1]`.
    one: Tensor<B, 2>,
    /// `s`, `[1, 1]`.
    scale: Tensor<B, 2>,
}

impl<B: Backend> Whole<B> {
    /// # Shapes
    ///
    /// - mean: `[1, size]`
    /// - one, scale: `[1, 1]`
    pub(super) fn new(mean: Tensor<B, 2>, one: Tensor<B, 2>, scale: Tensor<B, 2>) -> Self {
        let (mean, reciprocal) = away_from_zero(mean);
        Self {
            mean: mean.transpose(),
            reciprocal: reciprocal.transpose(),
            one,
            scale,
        }
    }

    pub(super) fn elements(&self) -> usize {
        let [size, _] = self.mean.dims();
        2 * size + 2
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        Self {
            mean: self.mean.to_device(device),
            reciprocal: self.reciprocal.to_device(device),
            one: self.one.to_device(device),
            scale: self.scale.to_device(device),
        }
    }

    /// `u = G a` and `G − s u aᵀ`.
    pub(super) fn apply(
        self,
        gradients: LayerGradients<B, 2>,
        guard: bool,
    ) -> LayerGradients<B, 2> {
        let dtype = gradients.weight.dtype();
        let weight = at_least_f32(gradients.weight);
        let bias = gradients.bias.map(at_least_f32);
        let [_, columns] = weight.dims();

        let mut product = self.mean.clone().transpose().matmul(weight.clone());
        if let Some(bias) = &bias {
            product = product + bias.clone().reshape([1, columns]) * self.one.clone();
        }
        let step = scaled(product, self.scale, guard);
        let bias = bias.map(|bias| bias - (step.clone() * self.one).reshape([columns]));
        // `G − x̄ ⊗ w`, in the memory of `G`: see `away_from_zero`.
        let weight = (weight * self.reciprocal - step) * self.mean;
        LayerGradients {
            weight: as_dtype(weight, dtype),
            bias: bias.map(|bias| as_dtype(bias, dtype)),
        }
    }
}
