//! The rank-one preconditioner of a layer: tensor arithmetic only.

use crate::fusion::fuses;
use crate::record::layer::LayerKind;
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
///
/// # Shapes
///
/// A gradient is seen as `[size, parts, columns]` for a `Linear`, of which each part has a mean, and as
/// `[means, rows, size]` for a `Conv2d`. The vectors are kept so that they broadcast over that.
#[derive(Debug, Clone)]
pub(crate) struct RankOne<B: Backend> {
    /// `x̄`, `[size, parts, 1]` or `[means, 1, size]`.
    mean: Tensor<B, 3>,
    /// `1 / x̄`, the same shape.
    reciprocal: Tensor<B, 3>,
    /// The augmentation, 1 (0 where no statistic has arrived yet), `[1, parts, 1]` or `[means, 1, 1]`.
    one: Tensor<B, 3>,
    /// `s`, the same shape.
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
    pub(crate) fn new(mean: Tensor<B, 2>, damping: f64, bias: bool, kind: LayerKind) -> Self {
        let [means, width] = mean.dims();
        // A product, since a view would be copied by every step.
        let one = mean.clone().narrow(1, width - 1, 1).mul_scalar(1.0);
        let mean = mean.narrow(1, 0, width - 1);
        let mut norm = mean.clone().square().sum_dim(1);
        if bias {
            norm = norm + one.clone().square();
        }
        let near_zero = mean.clone().abs().lower_elem(SMALLEST);
        let mean = mean.mask_fill(near_zero, SMALLEST);
        let shaped = |tensor: Tensor<B, 2>| match kind {
            LayerKind::Conv2d { .. } => tensor.unsqueeze_dim(1),
            LayerKind::Linear => by_part(tensor, &[0]),
            LayerKind::FusedAttention => by_part(tensor, &QKV),
        };
        debug_assert_eq!(means, kind.means());
        // Divided, since `recip` of `NdArray<f32>` is the processor's approximation.
        Self {
            reciprocal: shaped(mean.ones_like() / mean.clone()),
            mean: shaped(mean),
            one: shaped(one),
            scale: shaped(norm.ones_like() / norm.add_scalar(damping)),
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
        let [size, size_output] = gradients.weight.dims();
        let [_, parts, _] = self.mean.dims();
        let columns = size_output / parts;
        let weight = gradients.weight.reshape([size, parts, columns]);
        let bias = gradients.bias.map(|bias| bias.reshape([1, parts, columns]));

        let (weight, bias) = self.apply(weight, bias, Self::columns_along_mean, guard);
        LayerGradients {
            weight: weight.reshape([size, size_output]),
            bias: bias.map(|bias| bias.reshape([size_output])),
        }
    }

    /// Preconditions the gradients of a `Conv2d`, weight `[channels_out, …]`.
    pub(crate) fn conv2d(
        self,
        gradients: LayerGradients<B, 4>,
        guard: bool,
    ) -> LayerGradients<B, 4> {
        let shape = gradients.weight.dims();
        let [means, _, size] = self.mean.dims();
        let rows = shape[0] / means;
        let weight = gradients.weight.reshape([means, rows, size]);
        let bias = gradients.bias.map(|bias| bias.reshape([means, rows, 1]));

        let (weight, bias) = self.apply(weight, bias, Self::rows_along_mean, guard);
        LayerGradients {
            weight: weight.reshape(shape),
            bias: bias.map(|bias| bias.reshape([shape[0]])),
        }
    }

    /// `u = G a` and `G − s u aᵀ`, in the layout of the vectors.
    fn apply(
        self,
        weight: Tensor<B, 3>,
        bias: Option<Tensor<B, 3>>,
        along_mean: fn(&Self, Tensor<B, 3>) -> Tensor<B, 3>,
        guard: bool,
    ) -> (Tensor<B, 3>, Option<Tensor<B, 3>>) {
        let dtype = weight.dtype();
        let weight = at_least_f32(weight);
        let bias = bias.map(at_least_f32);

        let mut product = along_mean(&self, weight.clone());
        if let Some(bias) = &bias {
            product = product + bias.clone() * self.one.clone();
        }
        let step = scaled(product, self.scale, guard);
        let weight = subtract(weight * self.reciprocal, step.clone()) * self.mean;
        let bias = bias.map(|bias| bias - step * self.one);
        (
            as_dtype(weight, dtype),
            bias.map(|bias| as_dtype(bias, dtype)),
        )
    }

    /// `x̄ᵀ G` of each part, `[size, parts, columns]` to `[1, parts, columns]`.
    fn columns_along_mean(&self, weight: Tensor<B, 3>) -> Tensor<B, 3> {
        if fuses::<B>() {
            return (weight * self.mean.clone()).sum_dim(0);
        }
        let [size, parts, columns] = weight.dims();
        let means = self.mean.clone().reshape([size, parts]).transpose();
        // Each mean with all columns: parts of a weight are no tensors without copying them.
        let products = means.matmul(weight.reshape([size, parts * columns]));
        let products = products.reshape([parts, parts, columns]);
        let own = |part| products.clone().slice([part..part + 1, part..part + 1]);
        Tensor::cat((0..parts).map(own).collect(), 1)
    }

    /// `G x̄` of each mean, `[means, rows, size]` to `[means, rows, 1]`.
    fn rows_along_mean(&self, weight: Tensor<B, 3>) -> Tensor<B, 3> {
        if fuses::<B>() {
            return (weight * self.mean.clone()).sum_dim(2);
        }
        weight.matmul(self.mean.clone().swap_dims(1, 2))
    }
}

/// The means of the queries', keys' and values' columns: that of the tokens, twice, and that through
/// attention.
const QKV: [usize; 3] = [0, 0, 1];

/// A vector of each mean, `[means, size]`, for parts that have these means, as `[size, parts, 1]`.
fn by_part<B: Backend>(vectors: Tensor<B, 2>, means: &[usize]) -> Tensor<B, 3> {
    let [_, size] = vectors.dims();
    let of_part = |mean: &usize| vectors.clone().narrow(0, *mean, 1).reshape([size, 1, 1]);
    Tensor::cat(means.iter().map(of_part).collect(), 1)
}

/// `weight − step`, where the step is the same along the first or the last axis.
fn subtract<B: Backend>(weight: Tensor<B, 3>, step: Tensor<B, 3>) -> Tensor<B, 3> {
    let shape = weight.dims();
    let [size, parts, columns] = shape;
    if fuses::<B>() || parts == 1 || step.dims()[0] == size {
        return weight - step;
    }
    // One row for all: what CPU backends have a fast kernel for, and this way it has two axes.
    let weight = weight.reshape([size, parts * columns]);
    let weight = weight - step.reshape([1, parts * columns]);
    weight.reshape(shape)
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
