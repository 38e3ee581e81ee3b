//! The rank-one preconditioner of a layer: tensor arithmetic only.

use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Elements of a mean nearer to zero than this are taken as this. A power of two, so that dividing by
/// it and multiplying again changes nothing; so small that the change is far below rounding.
const SMALLEST: f32 = 1.0 / (1u64 << 40) as f32;

/// `I − a aᵀ / (ρ + ‖a‖²)` with `a = [x̄ ; 1]`, for each of a layer's means.
///
/// By Sherman and Morrison this is `ρ (ρ I + a aᵀ)⁻¹`. It is applied to the input side of a
/// gradient as one matrix-vector product and one rank-one update; the `d × d` matrix never exists.
///
/// The update `G − x̄ ⊗ w` is computed as `(G / x̄ − w) · x̄`. That is the same up to rounding, and
/// works within the memory of `G`, where the product `x̄ ⊗ w` would be one more tensor of its size.
#[derive(Debug, Clone)]
pub(crate) struct RankOne<B: Backend> {
    /// `x̄`, `[means, 1, size]`.
    mean: Tensor<B, 3>,
    /// `1 / x̄`, `[means, 1, size]`.
    reciprocal: Tensor<B, 3>,
    /// The augmentation, 1 (0 where no statistic has arrived yet), `[means, 1, 1]`.
    one: Tensor<B, 3>,
    /// `s`, `[means, 1, 1]`.
    scale: Tensor<B, 3>,
}

/// The gradients of one layer. Those of the weight are in the layout of the layer.
pub(crate) struct LayerGradients<B: Backend, const D: usize> {
    pub(crate) weight: Tensor<B, D>,
    pub(crate) bias: Option<Tensor<B, 1>>,
}

impl<B: Backend> RankOne<B> {
    /// # Shapes
    ///
    /// - mean: `[means, size + 1]`, the last column 1
    pub(crate) fn new(mean: Tensor<B, 2>, damping: f64, bias: bool) -> Self {
        let [means, width] = mean.dims();
        let one = mean.clone().narrow(1, width - 1, 1).reshape([means, 1, 1]);
        let mean = mean.narrow(1, 0, width - 1).reshape([means, 1, width - 1]);
        let mut norm = mean.clone().square().sum_dim(2);
        if bias {
            norm = norm + one.clone().square();
        }
        let near_zero = mean.clone().abs().lower_elem(SMALLEST);
        let mean = mean.mask_fill(near_zero, SMALLEST);
        // Divided, since `recip` of `NdArray<f32>` is the processor's approximation.
        Self {
            reciprocal: mean.ones_like() / mean.clone(),
            mean,
            one,
            scale: norm.ones_like() / norm.add_scalar(damping),
        }
    }

    pub(crate) fn moved_to(self, device: &B::Device) -> Self {
        if self.mean.device() == *device {
            return self;
        }
        Self {
            mean: self.mean.to_device(device),
            reciprocal: self.reciprocal.to_device(device),
            one: self.one.to_device(device),
            scale: self.scale.to_device(device),
        }
    }

    /// Preconditions the gradients of a `Linear`, weight `[size, size_output]`.
    pub(crate) fn linear(
        self,
        gradients: LayerGradients<B, 2>,
        guard: bool,
    ) -> LayerGradients<B, 2> {
        let dtype = gradients.weight.dtype();
        let weight = at_least_f32(gradients.weight);
        let bias = gradients.bias.map(at_least_f32);
        let [size, size_output] = weight.dims();
        let one = self.one.reshape([1, 1]);

        let mut product = self.mean.clone().reshape([1, size]).matmul(weight.clone());
        if let Some(bias) = &bias {
            product = product + bias.clone().reshape([1, size_output]) * one.clone();
        }
        let step = scaled(product, self.scale.reshape([1, 1]), guard);
        let column = self.mean.reshape([size, 1]);
        let reciprocal = self.reciprocal.reshape([size, 1]);
        let weight = (weight * reciprocal - step.clone()) * column;
        let bias = bias.map(|bias| bias - (step * one).reshape([size_output]));
        LayerGradients {
            weight: as_dtype(weight, dtype),
            bias: bias.map(|bias| as_dtype(bias, dtype)),
        }
    }

    /// Preconditions the gradients of a projection to queries, keys and values, weight
    /// `[size, 3 · size_output]`: the first two thirds of the columns by the first mean, the last by the
    /// second.
    pub(crate) fn fused_attention(
        self,
        gradients: LayerGradients<B, 2>,
        guard: bool,
    ) -> LayerGradients<B, 2> {
        let [_, columns] = gradients.weight.dims();
        let split = columns / 3 * 2;
        let part = |index, start, length| {
            let gradients = LayerGradients {
                weight: gradients.weight.clone().narrow(1, start, length),
                bias: gradients
                    .bias
                    .clone()
                    .map(|bias| bias.narrow(0, start, length)),
            };
            self.mean_at(index).linear(gradients, guard)
        };
        let (left, right) = (part(0, 0, split), part(1, split, columns - split));
        LayerGradients {
            weight: Tensor::cat(vec![left.weight, right.weight], 1),
            bias: left
                .bias
                .zip(right.bias)
                .map(|(left, right)| Tensor::cat(vec![left, right], 0)),
        }
    }

    /// The preconditioner of one of the means.
    fn mean_at(&self, index: usize) -> Self {
        let at = |tensor: &Tensor<B, 3>| tensor.clone().narrow(0, index, 1);
        Self {
            mean: at(&self.mean),
            reciprocal: at(&self.reciprocal),
            one: at(&self.one),
            scale: at(&self.scale),
        }
    }

    /// Preconditions the gradients of a `Conv2d`, weight `[channels_out, …]`.
    pub(crate) fn conv2d(
        self,
        gradients: LayerGradients<B, 4>,
        guard: bool,
    ) -> LayerGradients<B, 4> {
        let dtype = gradients.weight.dtype();
        let shape = gradients.weight.dims();
        let [means, _, size] = self.mean.dims();
        let rows = shape[0] / means;
        let weight = at_least_f32(gradients.weight).reshape([means, rows, size]);
        let bias = gradients.bias.map(at_least_f32);

        let column = self.mean.clone().swap_dims(1, 2);
        let mut product = weight.clone().matmul(column);
        if let Some(bias) = &bias {
            product = product + bias.clone().reshape([means, rows, 1]) * self.one.clone();
        }
        let step = scaled(product, self.scale, guard);
        let weight = (weight * self.reciprocal - step.clone()) * self.mean;
        let bias = bias.map(|bias| bias - (step * self.one).reshape([shape[0]]));
        LayerGradients {
            weight: as_dtype(weight.reshape(shape), dtype),
            bias: bias.map(|bias| as_dtype(bias, dtype)),
        }
    }
}

/// `s u`, the length of the step along the mean input for each output.
///
/// With `guard`, all of it is NaN if any of `u` is not finite. A NaN or infinity anywhere in `G`
/// spreads to `u = G a`, and from here back to all of `G`: whoever takes the step needs to look at
/// one element only.
fn scaled<B: Backend, const D: usize>(
    product: Tensor<B, D>,
    scale: Tensor<B, D>,
    guard: bool,
) -> Tensor<B, D> {
    let scale = if guard {
        let broken = product.clone().sum().is_finite().bool_not().reshape([1; D]);
        let broken = broken.expand(scale.shape());
        scale.mask_fill(broken, f32::NAN)
    } else {
        scale
    };
    product * scale
}

#[cfg(test)]
mod tests;
