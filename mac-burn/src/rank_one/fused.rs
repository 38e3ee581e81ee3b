use super::LayerGradients;
use super::vectors::scaled;
use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// More axes than a weight has.
const MORE_AXES: usize = 5;

/// What the gradients of a layer are preconditioned with where the backend fuses element-wise operations.
///
/// The weight's gradient keeps its shape, so that `G − x̄ ⊗ w` is part of the kernel that updates the weight. A gradient
/// that is reshaped would be a kernel's input only after its elements' places are computed anew, and its output never.
#[derive(Debug, Clone)]
pub(crate) struct Fused<B: Backend> {
    /// `x̄` of each mean, `[means, size]`.
    rows: Tensor<B, 2>,
    /// The augmentation of each mean, 1 (0 where no statistic has arrived yet), `[means, 1, 1]`.
    ones: Tensor<B, 3>,
    /// The same elements for each mean.
    means: Vec<Mean<B>>,
    /// `s` of each mean in the parts of the outputs that have it, 0 in the others, `[means, parts, 1]`.
    scale: Tensor<B, 3>,
}

/// A mean and its augmentation.
#[derive(Debug, Clone)]
struct Mean<B: Backend> {
    /// `[size, 1]`.
    column: Tensor<B, 2>,
    /// `[1]`.
    one: Tensor<B, 1>,
}

impl<B: Backend> Fused<B> {
    /// `parts` has the index of the mean of each part of the outputs.
    ///
    /// # Shapes
    ///
    /// - mean: `[means, size]`
    /// - one, scale: `[means, 1]`
    pub(super) fn new(
        mean: Tensor<B, 2>,
        one: Tensor<B, 2>,
        scale: Tensor<B, 2>,
        parts: &[usize],
    ) -> Self {
        let [means, size] = mean.dims();
        let own = |index| Mean {
            column: mean.clone().narrow(0, index, 1).reshape([size, 1]),
            one: one.clone().narrow(0, index, 1).reshape([1]),
        };
        Self {
            means: (0..means).map(own).collect(),
            ones: one.reshape([means, 1, 1]),
            scale: in_own_parts(scale, parts),
            rows: mean,
        }
    }

    /// Those of each mean share the memory of all.
    pub(super) fn elements(&self) -> usize {
        let own = [self.rows.shape(), self.ones.shape(), self.scale.shape()];
        own.iter().map(|shape| shape.num_elements()).sum()
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        let means = self.means.into_iter().map(|mean| Mean {
            column: mean.column.to_device(device),
            one: mean.one.to_device(device),
        });
        Self {
            rows: self.rows.to_device(device),
            ones: self.ones.to_device(device),
            means: means.collect(),
            scale: self.scale.to_device(device),
        }
    }

    /// Preconditions the gradients of a `Linear`, weight `[size, outputs]`.
    pub(super) fn linear(
        self,
        gradients: LayerGradients<B, 2>,
        guard: bool,
    ) -> LayerGradients<B, 2> {
        let dtype = gradients.weight.dtype();
        let weight = at_least_f32(gradients.weight);

        let product = self.rows.clone().matmul(weight.clone());
        let (steps, bias) = self.steps(product, gradients.bias, guard);
        let means = self.means.into_iter().zip(steps);
        let weight = means.fold(weight, |weight, (mean, step)| weight - mean.column * step);
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
        let [_, size] = self.rows.dims();

        let matrix = weight.clone().reshape([rows, size]);
        let product = matrix
            .matmul(self.means[0].column.clone())
            .reshape([1, rows]);
        let (steps, bias) = self.steps(product, gradients.bias, guard);
        let mean = whole(self.rows, [1, channels, height, width]);
        let weight = steps.into_iter().fold(weight, |weight, step| {
            weight - whole(step, [rows, 1, 1, 1]) * mean.clone()
        });
        LayerGradients {
            weight: as_dtype(weight, dtype),
            bias,
        }
    }

    /// `w = s (G x̄ + g_b)` for each mean, `[1, outputs]` with zeros in the parts that have another one; and the bias's
    /// gradient less its part of it.
    fn steps(
        &self,
        product: Tensor<B, 2>,
        bias: Option<Tensor<B, 1>>,
        guard: bool,
    ) -> (Vec<Tensor<B, 2>>, Option<Tensor<B, 1>>) {
        let [means, outputs] = product.dims();
        let [_, parts, _] = self.scale.dims();
        let columns = outputs / parts;

        let mut product = product.reshape([means, parts, columns]);
        if let Some(bias) = &bias {
            let bias = at_least_f32(bias.clone()).reshape([1, parts, columns]);
            product = product + bias * self.ones.clone();
        }
        let steps = whole(scaled(product, self.scale.clone(), guard), [means, outputs]);
        let steps = rows_of(steps);
        let bias = bias.map(|bias| {
            let dtype = bias.dtype();
            let means = self.means.iter().zip(&steps);
            let bias = means.fold(at_least_f32(bias), |bias, (mean, step)| {
                bias - step.clone().reshape([outputs]) * mean.one.clone()
            });
            as_dtype(bias, dtype)
        });
        (steps, bias)
    }
}

/// The rows of a matrix, `[1, columns]` each. A matrix of one is left alone, since a slice ends what is fused.
fn rows_of<B: Backend>(matrix: Tensor<B, 2>) -> Vec<Tensor<B, 2>> {
    match matrix.dims()[0] {
        1 => vec![matrix],
        rows => (0..rows)
            .map(|row| matrix.clone().narrow(0, row, 1))
            .collect(),
    }
}

/// A number of each mean, `[means, 1]`, in the parts that have this mean and 0 in the others, `[means, parts, 1]`.
fn in_own_parts<B: Backend>(numbers: Tensor<B, 2>, parts: &[usize]) -> Tensor<B, 3> {
    let [means, _] = numbers.dims();
    let numbers = numbers.reshape([means, 1, 1]);
    let in_part = |own: &usize| {
        let number = |mean| {
            let number = numbers.clone().narrow(0, mean, 1);
            if mean == *own {
                number
            } else {
                number.zeros_like()
            }
        };
        Tensor::cat((0..means).map(number).collect(), 0)
    };
    Tensor::cat(parts.iter().map(in_part).collect(), 1)
}

/// The tensor in another shape, by way of one with more axes still.
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
