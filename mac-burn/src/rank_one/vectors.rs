use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Elements of a mean nearer to zero than this are taken as this. A power of two, so that dividing by
/// it and multiplying again changes nothing; so small that the change is far below rounding.
const SMALLEST: f32 = 1.0 / (1u64 << 40) as f32;

/// What a layer's gradients are preconditioned with, in shapes that broadcast over a weight of rank 3.
#[derive(Debug, Clone)]
pub(crate) struct Vectors<B: Backend> {
    /// `x̄`, of size 1 along the outputs.
    pub(super) mean: Tensor<B, 3>,
    /// `1 / x̄`, the same shape. Backends that fuse have it too: without it two kernels more would be launched.
    reciprocal: Tensor<B, 3>,
    /// The augmentation, 1 (0 where no statistic has arrived yet), of size 1 along the inputs too.
    one: Tensor<B, 3>,
    /// `s`, the same shape.
    scale: Tensor<B, 3>,
}

impl<B: Backend> Vectors<B> {
    /// # Shapes
    ///
    /// - mean: `[means, size]`
    /// - one, scale: `[means, 1]`
    ///
    /// which `shaped` brings into shapes that broadcast.
    pub(super) fn new(
        mean: Tensor<B, 2>,
        one: Tensor<B, 2>,
        scale: Tensor<B, 2>,
        shaped: impl Fn(Tensor<B, 2>) -> Tensor<B, 3>,
    ) -> Self {
        let (mean, reciprocal) = away_from_zero(mean);
        Self {
            mean: shaped(mean),
            reciprocal: shaped(reciprocal),
            one: shaped(one),
            scale: shaped(scale),
        }
    }

    pub(super) fn elements(&self) -> usize {
        let all = [&self.mean, &self.reciprocal, &self.one, &self.scale];
        all.map(|tensor| tensor.shape().num_elements()).iter().sum()
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        Self {
            mean: self.mean.to_device(device),
            reciprocal: self.reciprocal.to_device(device),
            one: self.one.to_device(device),
            scale: self.scale.to_device(device),
        }
    }

    /// `u = G a` and `G − s u aᵀ`. `along_mean` is `G x̄`, of the mean and the weight's gradient.
    pub(super) fn apply(
        self,
        weight: Tensor<B, 3>,
        bias: Option<Tensor<B, 3>>,
        along_mean: impl FnOnce(Tensor<B, 3>, Tensor<B, 3>) -> Tensor<B, 3>,
        guard: bool,
    ) -> (Tensor<B, 3>, Option<Tensor<B, 3>>) {
        let dtype = weight.dtype();
        let weight = at_least_f32(weight);
        let bias = bias.map(at_least_f32);

        let mut product = along_mean(self.mean.clone(), weight.clone());
        if let Some(bias) = &bias {
            product = product + bias.clone() * self.one.clone();
        }
        let step = scaled(product, self.scale, guard);
        // `G − x̄ ⊗ w`, in the memory of `G`: see `away_from_zero`.
        let weight = less(weight * self.reciprocal, step.clone()) * self.mean;
        let bias = bias.map(|bias| bias - step * self.one);
        (
            as_dtype(weight, dtype),
            bias.map(|bias| as_dtype(bias, dtype)),
        )
    }
}

/// A mean and its reciprocal, to compute `G − x̄ ⊗ w` as `(G / x̄ − w) · x̄`. This is the same up to rounding and works
/// within the memory of `G`, where the product would be one more tensor of its size.
pub(super) fn away_from_zero<B: Backend>(mean: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let near_zero = mean.clone().abs().lower_elem(SMALLEST);
    let mean = mean.mask_fill(near_zero, SMALLEST);
    // Divided, since `recip` of `NdArray<f32>` is the processor's approximation.
    let reciprocal = mean.ones_like() / mean.clone();
    (mean, reciprocal)
}

/// `weight − step`, where the step is the same along the first or the last axis.
fn less<B: Backend>(weight: Tensor<B, 3>, step: Tensor<B, 3>) -> Tensor<B, 3> {
    let [size, parts, columns] = weight.dims();
    if step.dims()[0] == size {
        return weight - step;
    }
    // One row for all: what CPU backends have a fast kernel for, if there are two axes.
    let weight = weight.reshape([size, parts * columns]) - step.reshape([1, parts * columns]);
    weight.reshape([size, parts, columns])
}

/// `s u`, the length of the step along the mean input for each output.
///
/// With `guard`, all of it is NaN if any of `u` is not finite. A NaN or infinity anywhere in `G`
/// spreads to `u = G a`, and from here back to all of `G`: whoever takes the step needs to look at
/// one element only.
pub(super) fn scaled<B: Backend, const D: usize>(
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
