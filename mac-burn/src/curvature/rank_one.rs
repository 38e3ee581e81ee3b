//! The rank-one preconditioner of a layer: tensor arithmetic only, in the forms that backends are fastest with.

use super::mean_activation::Augmented;
use super::{LayerGradient, WeightGradient};
use crate::layer::LayerKind;
use crate::precision::bytes;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};
use std::any::type_name;

/// Elements of a matrix that are updated at a time on a processor: a block stays in its cache.
const BLOCK_ELEMENTS: usize = 1 << 16;

/// More axes than a weight has.
const MORE_AXES: usize = 5;

/// `I − ā āᵀ / (ρ + ‖ā‖²)` with `ā = [x̄ ; 1]`, for each of a layer's means.
///
/// By Sherman and Morrison this is `ρ (ρ I + ā āᵀ)⁻¹`. It is applied to the input side of a gradient as one product
/// with a vector and one rank-one update; the `d × d` matrix never exists.
///
/// It is kept as `â = ā / m`, where `m` is the largest magnitude in `ā`, and `s = 1 / (ρ / m² + ‖â‖²)`. Squares of
/// `â` neither overflow nor vanish, and `s` is at most 1, whatever the magnitudes of `ā` and `ρ`.
#[derive(Debug, Clone)]
pub(crate) struct RankOne<B: Backend> {
    /// The inputs' part of `â`, `[means, size]`.
    direction: Tensor<B, 2>,
    /// The bias's part of `â`, `[means, 1]`.
    bias: Option<Tensor<B, 2>>,
    /// `s`, `[means, 1]`; of a fused projection `[means, columns]`, 0 in columns that have another mean.
    scale: Tensor<B, 2>,
}

impl<B: Backend> RankOne<B> {
    /// The preconditioner of a layer with so many outputs, with or without a bias.
    pub(super) fn new(
        mean: &Augmented<B>,
        damping: f64,
        bias: bool,
        kind: LayerKind,
        size_output: usize,
    ) -> Self {
        let one = bias.then(|| mean.one.clone());
        let mut largest = mean.inputs.clone().abs().max_dim(1);
        if let Some(one) = &one {
            largest = largest.max_pair(one.clone().abs());
        }
        // A mean of 0 preconditions nothing.
        let none = largest.clone().equal_elem(0.0);
        let largest = largest.mask_fill(none, 1.0);

        let direction = mean.inputs.clone() / largest.clone();
        let bias = one.map(|one| one / largest.clone());
        let mut norm = direction.clone().square().sum_dim(1);
        if let Some(bias) = &bias {
            norm = norm + bias.clone().square();
        }
        let damping = largest.zeros_like().add_scalar(damping);
        // Divided twice: the square of `m` may be out of range. (And `recip` of `NdArray<f32>` is an approximation.)
        let norm = damping / largest.clone() / largest + norm;
        let scale = norm.ones_like() / norm;
        Self {
            direction,
            bias,
            scale: match kind.value_columns(size_output) {
                Some(values) => columns_of_means(scale, size_output - values, values),
                None => scale,
            },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let bias = self.bias.as_ref().map_or(0, bytes);
        bytes(&self.direction) + bias + bytes(&self.scale)
    }

    fn to_device(&self, device: &B::Device) -> Self {
        Self {
            direction: self.direction.clone().to_device(device),
            bias: self.bias.clone().map(|bias| bias.to_device(device)),
            scale: self.scale.clone().to_device(device),
        }
    }

    /// Preconditions the gradient of a layer.
    pub(super) fn apply(&self, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B> {
        self.apply_in(Form::of::<B>(), gradient, guard)
    }

    fn apply_in(&self, form: Form, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B> {
        let this = self.to_device(&gradient.weight.device());
        let mut steps = Steps {
            rank_one: this,
            form,
            guard: guard && gradient.broken.is_none(),
            broken: gradient.broken,
        };
        let (weight, bias) = match gradient.weight {
            WeightGradient::Matrix(weight) => {
                let (weight, bias) = steps.matrix(weight, gradient.bias);
                (WeightGradient::Matrix(weight), bias)
            }
            WeightGradient::Kernel(weight) => {
                let (weight, bias) = steps.kernel(weight, gradient.bias);
                (WeightGradient::Kernel(weight), bias)
            }
        };
        LayerGradient {
            weight,
            bias,
            broken: steps.broken,
            ..gradient
        }
    }
}

/// How the update `G − w ⊗ â` is made. All backends have the same results with all forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is written, in the weight's own shape: part of the kernel that updates the weight.
    Fused,
    /// A product and a difference.
    Whole,
    /// The same in blocks of so many elements, in the memory of `G`: on a processor, a new tensor of the gradient's size
    /// costs more than the update.
    Blocks(usize),
}

impl Form {
    /// Asked of the backend's type, since `Backend::name` may start the default device.
    fn of<B>() -> Self {
        let name = type_name::<B>();
        if name.contains("Fusion<") {
            Self::Fused
        } else if name.contains("burn_flex::") || name.contains("burn_ndarray::") {
            Self::Blocks(BLOCK_ELEMENTS)
        } else {
            Self::Whole
        }
    }
}

/// One application of a [`RankOne`].
struct Steps<B: Backend> {
    rank_one: RankOne<B>,
    form: Form,
    guard: bool,
    broken: Option<Tensor<B, 1, Bool>>,
}

type Gradients<B, const D: usize> = (Tensor<B, D>, Option<Tensor<B, 1>>);

impl<B: Backend> Steps<B> {
    /// Of a weight `[size, columns]`.
    fn matrix(&mut self, weight: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Gradients<B, 2> {
        let [_, columns] = weight.dims();
        let direction = self.rank_one.direction.clone();
        let [means, _] = direction.dims();
        let bias = bias.map(|bias| bias.reshape([1, columns]));
        // `G â` of each mean, for the columns that have it.
        let product = direction.clone().matmul(weight.clone());
        let product = match (&bias, &self.rank_one.bias) {
            (Some(bias), Some(one)) => product + bias.clone() * one.clone(),
            _ => product,
        };
        self.look_at(&product);
        let step = product * self.rank_one.scale.clone();
        let bias = match (bias, &self.rank_one.bias) {
            (Some(bias), Some(one)) => {
                let part = step.clone() * one.clone();
                let part = if means > 1 { part.sum_dim(0) } else { part };
                Some(bias - part)
            }
            (bias, _) => bias,
        };
        let bias = bias.map(|bias| bias.reshape([columns]));
        (self.minus_product(weight, direction.transpose(), step), bias)
    }

    /// Of a weight `[rows, channels, height, width]`, whose rows are in groups that have a mean each.
    fn kernel(&mut self, weight: Tensor<B, 4>, bias: Option<Tensor<B, 1>>) -> Gradients<B, 4> {
        let shape = weight.dims();
        let [rows, channels, height, width] = shape;
        let [groups, size] = self.rank_one.direction.dims();
        let direction = self.rank_one.direction.clone().reshape([groups, size, 1]);
        let one = self.rank_one.bias.clone();
        let one = one.map(|one| one.reshape([groups, 1, 1]));
        let scale = self.rank_one.scale.clone().reshape([groups, 1, 1]);

        let matrix = weight.clone().reshape([groups, rows / groups, size]);
        let bias = bias.map(|bias| bias.reshape([groups, rows / groups, 1]));
        let product = matrix.matmul(direction.clone());
        let product = match (&bias, &one) {
            (Some(bias), Some(one)) => product + bias.clone() * one.clone(),
            _ => product,
        };
        self.look_at(&product);
        let step = product * scale;
        let bias = match (bias, one) {
            (Some(bias), Some(one)) => Some(bias - step.clone() * one),
            (bias, _) => bias,
        };
        let bias = bias.map(|bias| bias.reshape([rows]));
        let weight = if groups > 1 {
            let matrix = weight.reshape([groups, rows / groups, size]);
            (matrix - step.matmul(direction.swap_dims(1, 2))).reshape(shape)
        } else if self.form == Form::Fused {
            let mean = whole(self.rank_one.direction.clone(), [1, channels, height, width]);
            weight - whole(step, [rows, 1, 1, 1]) * mean
        } else {
            let matrix = weight.reshape([rows, size]);
            let direction = self.rank_one.direction.clone();
            let matrix = self.minus_product(matrix, step.reshape([rows, 1]), direction);
            matrix.reshape(shape)
        };
        (weight, bias)
    }

    /// Looks, with the guard on, at `G â`: a NaN or infinity anywhere in `G` spreads to it.
    fn look_at<const D: usize>(&mut self, product: &Tensor<B, D>) {
        if self.guard {
            self.broken = Some(product.clone().sum().is_finite().bool_not());
        }
    }

    /// `matrix − left · right`, where `left` has few columns.
    fn minus_product(
        &self,
        matrix: Tensor<B, 2>,
        left: Tensor<B, 2>,
        right: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let [rows, columns] = matrix.dims();
        let [_, means] = left.dims();
        match self.form {
            Form::Fused if means == 1 => {
                matrix - whole(left, [rows, 1]) * whole(right, [1, columns])
            }
            Form::Fused => (0..means).fold(matrix, |matrix, mean| {
                let left = left.clone().narrow(1, mean, 1);
                let right = right.clone().narrow(0, mean, 1);
                matrix - whole(left, [rows, 1]) * whole(right, [1, columns])
            }),
            Form::Whole => matrix - left.matmul(right),
            Form::Blocks(elements) => {
                let left = left.neg();
                let block = (elements / columns.max(1)).max(1);
                if rows <= block {
                    return left.matmul(right) + matrix;
                }
                (0..rows).step_by(block).fold(matrix, |matrix, start| {
                    let part = start..rows.min(start + block);
                    let left = left.clone().slice([part.clone()]);
                    let updated = matrix.clone().slice([part.clone()]);
                    let updated = left.matmul(right.clone()) + updated;
                    matrix.slice_assign([part, 0..columns], updated)
                })
            }
        }
    }
}

/// The scales of two means, `[2, 1]`, for so many columns that have the first mean and then so many that have the second:
/// `[2, columns]`.
fn columns_of_means<B: Backend>(
    scale: Tensor<B, 2>,
    tokens: usize,
    values: usize,
) -> Tensor<B, 2> {
    let options = (scale.device(), scale.dtype());
    let part = |one: f64, length: usize| {
        Tensor::<B, 2>::full([1, length], one, (&options.0, options.1))
    };
    let first = Tensor::cat(vec![part(1.0, tokens), part(0.0, values)], 1);
    let second = Tensor::cat(vec![part(0.0, tokens), part(1.0, values)], 1);
    Tensor::cat(vec![first, second], 0) * scale
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

#[cfg(test)]
mod tests;
