use super::LayerGradients;
use super::vectors::{away_from_zero, scaled};
use crate::fusion::fuses;
use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// What the gradients of a `Linear` with one mean are preconditioned with.
///
/// What belongs to the outputs has the rank of the bias, so that no rank is lowered: a fused kernel would end there, and
/// the weight's part could not be one with the optimizer's update.
#[derive(Debug, Clone)]
pub(crate) struct Whole<B: Backend> {
    /// `x̄`, `[size, 1]`.
    mean: Tensor<B, 2>,
    /// `x̄` as a row, where the backend fuses: there a matrix product would copy the transposed column in every step.
    row: Option<Tensor<B, 2>>,
    /// `1 / x̄`, `[size, 1]`, where the backend does not fuse.
    reciprocal: Option<Tensor<B, 2>>,
    /// The augmentation, 1 (0 where no statistic has arrived yet), `[1]`.
    one: Tensor<B, 1>,
    /// `s`, `[1]`.
    scale: Tensor<B, 1>,
}

impl<B: Backend> Whole<B> {
    /// # Shapes
    ///
    /// - mean: `[1, size]`
    /// - one, scale: `[1, 1]`
    pub(super) fn new(mean: Tensor<B, 2>, one: Tensor<B, 2>, scale: Tensor<B, 2>) -> Self {
        let (one, scale) = (one.reshape([1]), scale.reshape([1]));
        if fuses::<B>() {
            return Self {
                mean: mean.clone().transpose(),
                row: Some(mean),
                reciprocal: None,
                one,
                scale,
            };
        }
        let (mean, reciprocal) = away_from_zero(mean);
        Self {
            mean: mean.transpose(),
            row: None,
            reciprocal: Some(reciprocal.transpose()),
            one,
            scale,
        }
    }

    pub(super) fn elements(&self) -> usize {
        let vectors = [
            Some(&self.mean),
            self.row.as_ref(),
            self.reciprocal.as_ref(),
        ];
        let vectors = vectors.into_iter().flatten();
        vectors
            .map(|vector| vector.shape().num_elements())
            .sum::<usize>()
            + 2
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        if self.mean.device() == *device {
            return self;
        }
        let moved = |vector: Option<Tensor<B, 2>>| vector.map(|vector| vector.to_device(device));
        Self {
            mean: self.mean.to_device(device),
            row: moved(self.row),
            reciprocal: moved(self.reciprocal),
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

        let row = self.row.unwrap_or_else(|| self.mean.clone().transpose());
        let mut product: Tensor<B, 1> = row.matmul(weight.clone()).reshape([columns]);
        if let Some(bias) = &bias {
            product = product + bias.clone() * self.one.clone();
        }
        let step = scaled(product, self.scale, guard);
        let bias = bias.map(|bias| bias - step.clone() * self.one);
        let step = step.reshape([1, columns]);
        let weight = match self.reciprocal {
            None => weight - self.mean * step,
            Some(reciprocal) => (weight * reciprocal - step) * self.mean,
        };
        LayerGradients {
            weight: as_dtype(weight, dtype),
            bias: bias.map(|bias| as_dtype(bias, dtype)),
        }
    }
}
