use crate::fusion::fuses;
use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Elements of a mean nearer to zero than this are taken as this. A power of two, so that dividing by
/// it and multiplying again changes nothing; so small that the change is far below rounding.
const SMALLEST: f32 = 1.0 / (1u64 << 40) as f32;

/// What a layer's gradients are preconditioned with, in shapes that broadcast over a weight of rank `D`.
#[derive(Debug, Clone)]
pub(crate) struct Vectors<B: Backend, const D: usize> {
    /// `x̄`, of size 1 along the outputs.
    pub(super) mean: Tensor<B, D>,
    /// `1 / x̄`, the same shape; none where it is not needed.
    reciprocal: Option<Tensor<B, D>>,
    /// The augmentation, 1 (0 where no statistic has arrived yet), of size 1 along the inputs too.
    one: Tensor<B, D>,
    /// `s`, the same shape.
    scale: Tensor<B, D>,
}

impl<B: Backend, const D: usize> Vectors<B, D> {
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
        shaped: impl Fn(Tensor<B, 2>) -> Tensor<B, D>,
    ) -> Self {
        let (one, scale) = (shaped(one), shaped(scale));
        // Of a gradient that is reshaped, rank 3, two kernels more would be launched without the reciprocal.
        if fuses::<B>() && D == 2 {
            return Self {
                mean: shaped(mean),
                reciprocal: None,
                one,
                scale,
            };
        }
        let near_zero = mean.clone().abs().lower_elem(SMALLEST);
        let mean = mean.mask_fill(near_zero, SMALLEST);
        // Divided, since `recip` of `NdArray<f32>` is the processor's approximation.
        let reciprocal = mean.ones_like() / mean.clone();
        Self {
            mean: shaped(mean),
            reciprocal: Some(shaped(reciprocal)),
            one,
            scale,
        }
    }

    pub(super) fn elements(&self) -> usize {
        let always = [&self.mean, &self.one, &self.scale];
        let all = always.into_iter().chain(&self.reciprocal);
        all.map(|tensor| tensor.shape().num_elements()).sum()
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        if self.mean.device() == *device {
            return self;
        }
        Self {
            mean: self.mean.to_device(device),
            reciprocal: self.reciprocal.map(|tensor| tensor.to_device(device)),
            one: self.one.to_device(device),
            scale: self.scale.to_device(device),
        }
    }

    /// `u = G a` and `G − s u aᵀ`. `along_mean` is `G x̄`, of the mean and the weight's gradient.
    pub(super) fn apply(
        self,
        weight: Tensor<B, D>,
        bias: Option<Tensor<B, D>>,
        along_mean: impl FnOnce(Tensor<B, D>, Tensor<B, D>) -> Tensor<B, D>,
        guard: bool,
    ) -> (Tensor<B, D>, Option<Tensor<B, D>>) {
        let dtype = weight.dtype();
        let weight = at_least_f32(weight);
        let bias = bias.map(at_least_f32);

        let mut product = along_mean(self.mean.clone(), weight.clone());
        if let Some(bias) = &bias {
            product = product + bias.clone() * self.one.clone();
        }
        let step = scaled(product, self.scale, guard);
        let weight = subtract(weight, step.clone(), self.mean, self.reciprocal);
        let bias = bias.map(|bias| bias - step * self.one);
        (
            as_dtype(weight, dtype),
            bias.map(|bias| as_dtype(bias, dtype)),
        )
    }
}

/// `G − x̄ ⊗ w`. With the reciprocal it is computed as `(G / x̄ − w) · x̄`, which is the same up to rounding and works
/// within the memory of `G`, where the product would be one more tensor of its size.
fn subtract<B: Backend, const D: usize>(
    weight: Tensor<B, D>,
    step: Tensor<B, D>,
    mean: Tensor<B, D>,
    reciprocal: Option<Tensor<B, D>>,
) -> Tensor<B, D> {
    match reciprocal {
        None => weight - mean * step,
        Some(reciprocal) => less(weight * reciprocal, step) * mean,
    }
}

/// `weight − step`, where the step is the same along the first or the last axis.
fn less<B: Backend, const D: usize>(weight: Tensor<B, D>, step: Tensor<B, D>) -> Tensor<B, D> {
    let shape = weight.dims();
    let size = shape[0];
    if D == 2 || step.dims()[0] == size {
        return weight - step;
    }
    // One row for all: what CPU backends have a fast kernel for, if there are two axes.
    let columns = shape[1..].iter().product();
    let weight = weight.reshape([size, columns]) - step.reshape([1, columns]);
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
