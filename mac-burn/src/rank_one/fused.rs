use super::LayerGradients;
use super::vectors::scaled;
use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// More axes than a weight has.
const MORE_AXES: usize = 5;

/// What the gradients of a layer with one mean are preconditioned with where the backend fuses element-wise operations.
///
/// The weight's gradient keeps its shape, so that `G − x̄ ⊗ w` is part of the kernel that updates the weight. A gradient
/// that is reshaped would be a kernel's input only after its elements' places are computed anew, and its output never.
#[derive(Debug, Clone)]
pub(crate) struct Fused<B: Backend> {
    /// `x̄`, `[1, size]`.
    row: Tensor<B, 2>,
    /// The same elements as `[size, 1]`.
    column: Tensor<B, 2>,
    /// The augmentation, 1 (0 where no statistic has arrived yet), `[1]`.
    one: Tensor<B, 1>,
    /// `s`, `[1]`.
    scale: Tensor<B, 1>,
}

impl<B: Backend> Fused<B> {
    /// # Shapes
    ///
    /// - mean: `[1, size]`
    /// - one, scale: `[1, 1]`
    pub(super) fn new(mean: Tensor<B, 2>, one: Tensor<B, 2>, scale: Tensor<B, 2>) -> Self {
        let size = mean.dims()[1];
        Self {
            column: mean.clone().reshape([size, 1]),
            row: mean,
            one: one.reshape([1]),
            scale: scale.reshape([1]),
        }
    }

    /// Row and column share their memory.
    pub(super) fn elements(&self) -> usize {
        let [_, size] = self.row.dims();
        size + 2
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        Self {
            row: self.row.to_device(device),
            column: self.column.to_device(device),
            one: self.one.to_device(device),
            scale: self.scale.to_device(device),
        }
    }

    /// Preconditions the gradients of a `Linear`, weight `[size, columns]`.
    pub(super) fn linear(
        self,
        gradients: LayerGradients<B, 2>,
        guard: bool,
    ) -> LayerGradients<B, 2> {
        let dtype = gradients.weight.dtype();
        let weight = at_least_f32(gradients.weight);
        let [_, columns] = weight.dims();

        let product = self.row.matmul(weight.clone()).reshape([columns]);
        let (step, bias) = step(product, gradients.bias, self.one, self.scale, guard);
        let weight = weight - self.column * whole(step, [1, columns]);
        LayerGradients {
            weight: as_dtype(weight, dtype),
            bias,
        }
    }

    /// Preconditions the gradients of a `Conv2d` without groups, weight `[rows, …]` with `size` elements a row.
    pub(super) fn conv2d(
        self,
        gradients: LayerGradients<B, 4>,
        guard: bool,
    ) -> LayerGradients<B, 4> {
        let dtype = gradients.weight.dtype();
        let weight = at_least_f32(gradients.weight);
        let [rows, channels, height, width] = weight.dims();
        let [_, size] = self.row.dims();

        let product = weight.clone().reshape([rows, size]).matmul(self.column);
        let product = product.reshape([rows]);
        let (step, bias) = step(product, gradients.bias, self.one, self.scale, guard);
        let mean = whole(self.row, [1, channels, height, width]);
        let weight = weight - whole(step, [rows, 1, 1, 1]) * mean;
        LayerGradients {
            weight: as_dtype(weight, dtype),
            bias,
        }
    }
}

/// `w = s (G x̄ + g_b)` and the bias's gradient less its part of it.
fn step<B: Backend>(
    product: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    one: Tensor<B, 1>,
    scale: Tensor<B, 1>,
    guard: bool,
) -> (Tensor<B, 1>, Option<Tensor<B, 1>>) {
    let Some(bias) = bias else {
        return (scaled(product, scale, guard), None);
    };
    let dtype = bias.dtype();
    let bias = at_least_f32(bias);
    let product = product + bias.clone() * one.clone();
    let step = scaled(product, scale, guard);
    let bias = bias - step.clone() * one;
    (step, Some(as_dtype(bias, dtype)))
}

/// The tensor in a shape of more axes, by way of one with more axes still.
///
/// A reshape to more axes becomes part of the kernel that reads it, which then finds the place of every element by
/// divisions. One to fewer axes ends a kernel and is none itself, since no element changes its place.
fn whole<B: Backend, const D: usize, const D2: usize>(
    tensor: Tensor<B, D>,
    shape: [usize; D2],
) -> Tensor<B, D2> {
    let mut longer = [1; MORE_AXES];
    longer[MORE_AXES - D2..].copy_from_slice(&shape);
    tensor.reshape(longer).reshape(shape)
}
