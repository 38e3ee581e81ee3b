//! The rank-one preconditioner of a layer: tensor arithmetic only, in the forms that backends are fastest with.

use super::averages::Augmented;
use super::{LayerGradient, WeightGradient};
use crate::fusion::{fuses, reshape_outside_fusion};
use crate::layer::LayerKind;
use crate::precision::{bytes, full_precision_matmul, multiplies_in_tf32, sum_of_products};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, ElementConversion, Tensor};
use std::any::type_name;

/// The smallest magnitude that gradients are divided by, in this type. Quotients overflow later than gradients do for any
/// other reason, and where the divisor is this, a step that is not much larger than the gradient is lost in the quotient's
/// rounding.
fn smallest_divisor(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1.0 / (1u128 << 100) as f64,
        _ => 1.0 / (1u64 << 40) as f64,
    }
}

/// The numbers of which one is added to a mean, in smallest divisors: 0, and for a mean with an element near 0 powers of two, so
/// that an element of 0 is divided by and multiplied with exactly. One will do unless an element is within 1 of its negative.
const ADDED: [f64; 9] = [0.0, 2.0, -2.0, 4.0, -4.0, 8.0, -8.0, 16.0, -16.0];

/// The smallest magnitude that a mean is divided by.
pub(super) const SMALLEST_MAGNITUDE: f64 = 1e-37;

/// `I − ā āᵀ / (ρ + ‖ā‖²)` with `ā = [x̄ ; 1]`, for each of a layer's means.
///
/// By Sherman and Morrison this is `ρ (ρ I + ā āᵀ)⁻¹`. It is applied to the input side of a gradient as one product
/// with a vector and one rank-one update; the `d × d` matrix never exists.
///
/// It is kept as `â = ā / m`, where `m = max |x̄| + 1` is about the largest magnitude in `ā`, and
/// `s = 1 / (ρ / m² + ‖â‖²)`. Squares of `â` neither overflow nor vanish, and `s` is at most 4, whatever the magnitudes of
/// `ā` and `ρ`. Without a bias `m` is `max |x̄|`, and `s` at most 1.
#[derive(Debug, Clone)]
pub(crate) struct RankOne<B: Backend> {
    /// The inputs' part of `â`, `[means, size]`.
    direction: Tensor<B, 2>,
    /// The bias's part of `â`, `[means, 1]`.
    bias: Option<Tensor<B, 2>>,
    /// `s`, `[means, 1]`; of a fused projection `[means, columns]`, 0 in columns that have another mean.
    scale: Tensor<B, 2>,
    in_place: Option<InPlace<B>>,
    /// `â` of each mean by itself, where the backend fuses and there are several: to take it out of the others is a copy.
    by_mean: Vec<AugmentedColumn<B>>,
}

/// `â` of one mean.
#[derive(Debug, Clone)]
struct AugmentedColumn<B: Backend> {
    /// `[size, 1]`.
    direction: Tensor<B, 2>,
    /// `[1, 1]`.
    bias: Option<Tensor<B, 2>>,
}

/// `â` in shapes that broadcast over a weight of three axes, for updates in the memory of the gradient.
///
/// `G − w ⊗ â` is computed as `(G / (â + b) − w) · (â + b) + w · b`. This is the same up to rounding, and works within the
/// memory of `G` where the product would be one more tensor of its size; on a processor that costs more than the update.
/// The number `b` is 0, unless an element of `â` is so near to 0 that the quotient may overflow. As it is the same for all
/// elements, and far below those that are not near 0, the gradient of an input that is always 0 stays exactly as it is.
#[derive(Debug, Clone)]
struct InPlace<B: Backend> {
    /// `1 / (â + b)`, `[size, parts, 1]` of a weight `[size, parts · columns]`, or `[groups, 1, size]` of one of so many groups
    /// of rows.
    reciprocal: Tensor<B, 3>,
    /// `â + b` in the same shape, where it is more than a reshape of `â`.
    divisor: Option<Tensor<B, 3>>,
    /// `b`, if it is not 0.
    added: Option<f64>,
}

impl<B: Backend> InPlace<B> {
    /// None for a layer whose parts with one mean are not of one size, or a mean with elements near 0 of all sizes.
    ///
    /// Reads the smallest element from the device, which is the processor itself.
    fn new(direction: &Tensor<B, 2>, kind: LayerKind, size_output: usize) -> Option<Self> {
        let [means, size] = direction.dims();
        let columns = kind.value_columns(size_output);
        let direction = match columns {
            None if matches!(kind, LayerKind::Conv2d { .. }) => {
                direction.clone().reshape([means, 1, size])
            }
            None => direction.clone().reshape([size, 1, 1]),
            Some(values) if values > 0 && size_output.is_multiple_of(values) => {
                vectors_of_parts(direction, size_output / values)
            }
            Some(_) => return None,
        };
        let smallest = smallest_divisor(direction.dtype());
        ADDED.iter().find_map(|added| {
            let added = (*added != 0.0).then_some(added * smallest);
            let divisor = match added {
                Some(added) => direction.clone().add_scalar(added),
                None => direction.clone(),
            };
            let least: f64 = divisor.clone().abs().min().into_scalar().elem();
            (least >= smallest).then(|| Self {
                // Divided, since `recip` of `NdArray<f32>` is an approximation.
                reciprocal: divisor.ones_like() / divisor.clone(),
                divisor: (added.is_some() || columns.is_some()).then_some(divisor),
                added,
            })
        })
    }

    fn bytes(&self) -> usize {
        bytes(&self.reciprocal) + self.divisor.as_ref().map_or(0, bytes)
    }

    fn to_device(&self, device: &B::Device) -> Self {
        Self {
            reciprocal: self.reciprocal.clone().to_device(device),
            divisor: self
                .divisor
                .as_ref()
                .map(|divisor| divisor.clone().to_device(device)),
            added: self.added,
        }
    }

    /// `â + b` in the shape of the reciprocal.
    fn divisor(&self, direction: &Tensor<B, 2>) -> Tensor<B, 3> {
        let shape = self.reciprocal.dims();
        let reshaped = || direction.clone().reshape(shape);
        self.divisor.clone().unwrap_or_else(reshaped)
    }

    /// `G − w ⊗ â` of a weight `[size, columns]`, with `w` in a row.
    fn matrix(
        &self,
        weight: Tensor<B, 2>,
        step: Tensor<B, 2>,
        direction: &Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let shape = weight.dims();
        let [size, columns] = shape;
        let [_, parts, _] = self.reciprocal.dims();
        // One row for all columns, and one scalar for a row of a part: what processors have a fast path for.
        let scaled = |weight: Tensor<B, 2>, factors: Tensor<B, 3>| {
            (weight.reshape([size, parts, columns / parts]) * factors).reshape(shape)
        };
        let quotient = scaled(weight, self.reciprocal.clone());
        let divisor = self.divisor(direction);
        match self.added {
            None => scaled(quotient - step, divisor),
            Some(added) => scaled(quotient - step.clone(), divisor) + step.mul_scalar(added),
        }
    }

    /// The same of a weight `[groups, rows, size]`, with `w` in columns.
    fn rows(
        &self,
        weight: Tensor<B, 3>,
        step: Tensor<B, 3>,
        direction: &Tensor<B, 2>,
    ) -> Tensor<B, 3> {
        let divisor = self.divisor(direction);
        let quotient = weight * self.reciprocal.clone();
        match self.added {
            None => (quotient - step) * divisor,
            Some(added) => (quotient - step.clone()) * divisor + step.mul_scalar(added),
        }
    }
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
        let mut magnitude = mean.inputs.clone().abs().max_dim(1);
        if let Some(one) = &one {
            magnitude = magnitude + one.clone();
        }
        // A mean of 0 preconditions nothing, and one below this neither: even the smallest damping is far above its square.
        let magnitude = magnitude.clamp_min(SMALLEST_MAGNITUDE);

        let mut direction = mean.inputs.clone() / magnitude.clone();
        if Form::of::<B>() == Form::FusedSums {
            // So that rows follow each other, and no step copies them to reshape them.
            direction = reshape_outside_fusion(direction, mean.inputs.dims());
        }
        let bias = one.map(|one| one / magnitude.clone());
        let mut norm = direction.clone().square().sum_dim(1);
        if let Some(bias) = &bias {
            norm = norm + bias.clone().square();
        }
        let damping = magnitude.full_like(damping);
        // Divided twice: the square of `m` may be out of range. (And `recip` of `NdArray<f32>` is an approximation.)
        let norm = damping / magnitude.clone() / magnitude + norm;
        let scale = norm.ones_like() / norm;
        let in_place = match Form::of::<B>() {
            Form::InPlace => InPlace::new(&direction, kind, size_output),
            Form::Fused | Form::FusedSums | Form::OutOfPlace => None,
        };
        let by_mean = match kind.value_columns(size_output) {
            Some(_) if Form::of::<B>().is_fused() => columns_of(&direction, bias.as_ref()),
            _ => Vec::new(),
        };
        Self {
            direction,
            bias,
            in_place,
            by_mean,
            scale: match kind.value_columns(size_output) {
                Some(values) => columns_of_means(scale, size_output - values, values),
                None => scale,
            },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let bias = self.bias.as_ref().map_or(0, bytes);
        let in_place = self.in_place.as_ref().map_or(0, InPlace::bytes);
        let by_mean = self.by_mean.iter().map(AugmentedColumn::bytes);
        bytes(&self.direction) + bias + bytes(&self.scale) + in_place + by_mean.sum::<usize>()
    }

    pub(super) fn to_device(&self, device: &B::Device) -> Self {
        Self {
            direction: self.direction.clone().to_device(device),
            bias: self.bias.clone().map(|bias| bias.to_device(device)),
            scale: self.scale.clone().to_device(device),
            in_place: self.in_place.as_ref().map(|found| found.to_device(device)),
            by_mean: self
                .by_mean
                .iter()
                .map(|column| column.to_device(device))
                .collect(),
        }
    }

    /// Preconditions the gradient of a layer.
    pub(super) fn apply(&self, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B> {
        self.apply_in(Form::of::<B>(), gradient, guard)
    }

    /// Preconditions the gradient of a weight by itself.
    pub(super) fn apply_to_weight(&self, weight: WeightGradient<B>) -> WeightGradient<B> {
        let gradient = LayerGradient::of_weight(weight);
        self.apply(gradient, false).weight
    }

    fn apply_in(&self, form: Form, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B> {
        let device = gradient.weight.device();
        let moved = (self.direction.device() != device).then(|| self.to_device(&device));
        let mut steps = Steps {
            rank_one: moved.as_ref().unwrap_or(self),
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

/// A way to compute the update `G − w ⊗ â`. All backends have the same results with all forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is written, in the weight's own shape: part of the kernel that updates the weight.
    Fused,
    /// The same, and `G â` by sums: a product of matrices would be in TF32.
    FusedSums,
    /// A product and a difference.
    OutOfPlace,
    /// In the memory of `G` if that is possible, see [`InPlace`].
    InPlace,
}

impl Form {
    fn of<B>() -> Self {
        if is_processor::<B>() {
            Self::InPlace
        } else if !fuses::<B>() {
            Self::OutOfPlace
        } else if multiplies_in_tf32::<B>() {
            Self::FusedSums
        } else {
            Self::Fused
        }
    }

    fn is_fused(self) -> bool {
        matches!(self, Self::Fused | Self::FusedSums)
    }
}

/// Whether a backend's device is the processor, by its type.
pub(super) fn is_processor<B>() -> bool {
    let name = type_name::<B>();
    name.starts_with("burn_flex::") || name.starts_with("burn_ndarray::")
}

/// One application of a [`RankOne`].
struct Steps<'a, B: Backend> {
    rank_one: &'a RankOne<B>,
    form: Form,
    guard: bool,
    broken: Option<Tensor<B, 1, Bool>>,
}

type Gradients<B, const D: usize> = (Tensor<B, D>, Option<Tensor<B, 1>>);

impl<B: Backend> Steps<'_, B> {
    /// Of a weight `[size, columns]`.
    fn matrix(&mut self, weight: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Gradients<B, 2> {
        let [_, columns] = weight.dims();
        let direction = self.rank_one.direction.clone();
        let bias = bias.map(|bias| bias.reshape([1, columns]));
        let one = self.rank_one.bias.clone();
        let scale = self.rank_one.scale.clone();
        // `s G â` of each mean, for the columns that have it.
        let step = self.step(
            (direction.clone(), weight.clone()),
            bias.clone().zip(one),
            scale,
        );
        if self.form.is_fused() {
            return self.fused_matrix(weight, bias, step);
        }
        let bias = match (bias, &self.rank_one.bias) {
            (Some(bias), Some(one)) => Some(bias - in_one_row(step.clone() * one.clone())),
            (bias, _) => bias,
        };
        let bias = bias.map(|bias| bias.reshape([columns]));
        let weight = match (self.form, &self.rank_one.in_place) {
            (Form::InPlace, Some(in_place)) => {
                in_place.matrix(weight, in_one_row(step), &direction)
            }
            _ => self.out_of_place_matrix(weight, direction, step),
        };
        (weight, bias)
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

        // Of a gradient that comes transposed this is a copy.
        let matrix = weight.clone().reshape([groups, rows / groups, size]);
        let bias = bias.map(|bias| bias.reshape([groups, rows / groups, 1]));
        let factors = (matrix.clone(), direction.clone());
        let step = self.step(factors, bias.clone().zip(one.clone()), scale);
        let bias = match (bias, one) {
            (Some(bias), Some(one)) => Some(bias - step.clone() * one),
            (bias, _) => bias,
        };
        let bias = bias.map(|bias| bias.reshape([rows]));
        // A mean for all rows, or one for each.
        if self.form.is_fused() && (groups == 1 || groups == rows) {
            let mean = reshape_outside_fusion(
                self.rank_one.direction.clone(),
                [groups, channels, height, width],
            );
            return (
                weight - reshape_outside_fusion(step, [rows, 1, 1, 1]) * mean,
                bias,
            );
        }
        // So that nothing else holds the memory of a matrix that is no copy.
        drop(weight);
        let updated = match (self.form, &self.rank_one.in_place) {
            (Form::InPlace, Some(in_place)) => {
                in_place.rows(matrix, step, &self.rank_one.direction)
            }
            _ => matrix - step * direction.swap_dims(1, 2),
        };
        (updated.reshape(shape), bias)
    }

    /// `s G â`, from the gradient of the weight and `â` in the order of their product, with the bias's gradient and its part of `â`.
    fn step<const D: usize>(
        &mut self,
        (left, right): (Tensor<B, D>, Tensor<B, D>),
        bias: Option<(Tensor<B, D>, Tensor<B, D>)>,
        scale: Tensor<B, D>,
    ) -> Tensor<B, D> {
        if self.form == Form::FusedSums {
            let step = sum_of_products(left, right, Some(scale.clone()));
            let step = match bias {
                Some((bias, one)) => step + bias * one * scale,
                None => step,
            };
            self.look_at(&step);
            return step;
        }
        let product = full_precision_matmul(left, right);
        let product = match bias {
            Some((bias, one)) => product + bias * one,
            None => product,
        };
        self.look_at(&product);
        product * scale
    }

    /// Looks, with the guard on, at `G â` or `s G â`: a NaN or infinity anywhere in `G` spreads to it.
    fn look_at<const D: usize>(&mut self, product: &Tensor<B, D>) {
        if self.guard {
            self.broken = Some(product.clone().sum().is_finite().bool_not());
        }
    }

    /// `G − w ⊗ â`, mean by mean and in the weight's own shape, `[size, columns]`. The bias is a row.
    fn fused_matrix(
        &self,
        weight: Tensor<B, 2>,
        bias: Option<Tensor<B, 2>>,
        step: Tensor<B, 2>,
    ) -> Gradients<B, 2> {
        let [_, columns] = weight.dims();
        let [means, _] = step.dims();
        let by_mean = match self.rank_one.by_mean.is_empty() {
            true => columns_of(&self.rank_one.direction, self.rank_one.bias.as_ref()),
            false => self.rank_one.by_mean.clone(),
        };
        let steps = (0..means).map(|mean| match means {
            1 => step.clone(),
            _ => step.clone().narrow(0, mean, 1),
        });
        let parts: Vec<_> = by_mean.into_iter().zip(steps).collect();
        // The bias first, and in its own shape: its update is not part of the weight's kernel.
        let bias = bias.map(|bias| {
            let bias = parts
                .iter()
                .fold(bias, |bias, (mean, step)| match &mean.bias {
                    Some(one) => bias - step.clone() * one.clone(),
                    None => bias,
                });
            bias.reshape([columns])
        });
        let weight = parts.into_iter().fold(weight, |weight, (mean, step)| {
            weight - mean.direction * reshape_outside_fusion(step, [1, columns])
        });
        (weight, bias)
    }

    /// `G − w ⊗ â` in new memory, of a weight `[size, columns]`.
    fn out_of_place_matrix(
        &self,
        weight: Tensor<B, 2>,
        direction: Tensor<B, 2>,
        step: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let [means, _] = step.dims();
        let direction = direction.transpose();
        let update = match (means, self.form) {
            // Faster on processors than to broadcast both.
            (1, Form::InPlace) => weight.ones_like() * step * direction,
            (1, _) => direction * step,
            _ => full_precision_matmul(direction, step),
        };
        weight - update
    }
}

/// `â` of each mean by itself.
fn columns_of<B: Backend>(
    direction: &Tensor<B, 2>,
    bias: Option<&Tensor<B, 2>>,
) -> Vec<AugmentedColumn<B>> {
    let [means, size] = direction.dims();
    let row = |tensor: &Tensor<B, 2>, mean| match means {
        1 => tensor.clone(),
        _ => tensor.clone().narrow(0, mean, 1),
    };
    let column = |mean| AugmentedColumn {
        direction: row(direction, mean).reshape([size, 1]),
        bias: bias.map(|bias| row(bias, mean)),
    };
    (0..means).map(column).collect()
}

impl<B: Backend> AugmentedColumn<B> {
    fn bytes(&self) -> usize {
        bytes(&self.direction) + self.bias.as_ref().map_or(0, bytes)
    }

    fn to_device(&self, device: &B::Device) -> Self {
        Self {
            direction: self.direction.clone().to_device(device),
            bias: self.bias.clone().map(|bias| bias.to_device(device)),
        }
    }
}

/// The vectors of two means, `[2, size]`, for so many parts of a fused projection, of which the last has the second mean:
/// `[size, parts, 1]`.
pub(super) fn vectors_of_parts<B: Backend>(vectors: &Tensor<B, 2>, parts: usize) -> Tensor<B, 3> {
    let [_, size] = vectors.dims();
    let of_mean = |mean| vectors.clone().narrow(0, mean, 1).reshape([size, 1, 1]);
    let mut all = vec![of_mean(0); parts - 1];
    all.push(of_mean(1));
    Tensor::cat(all, 1)
}

/// The sum of a step's rows, of which each column has one that is not 0.
fn in_one_row<B: Backend>(step: Tensor<B, 2>) -> Tensor<B, 2> {
    let [means, _] = step.dims();
    if means > 1 { step.sum_dim(0) } else { step }
}

/// The scales of two means, `[2, 1]`, for so many columns that have the first mean and then so many that have the second:
/// `[2, columns]`.
fn columns_of_means<B: Backend>(scale: Tensor<B, 2>, tokens: usize, values: usize) -> Tensor<B, 2> {
    let options = (scale.device(), scale.dtype());
    let part =
        |one: f64, length: usize| Tensor::<B, 2>::full([1, length], one, (&options.0, options.1));
    let first = Tensor::cat(vec![part(1.0, tokens), part(0.0, values)], 1);
    let second = Tensor::cat(vec![part(0.0, tokens), part(1.0, values)], 1);
    Tensor::cat(vec![first, second], 0) * scale
}

#[cfg(test)]
mod tests;
