//! A square root of a curvature's inverse, and the matrices of a weight that they act on.

use super::rank_one::SMALLEST_MAGNITUDE;
use crate::layer::LayerKind;
use crate::precision::{as_dtype, bytes};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The part of a mean square below which a variance may be rounding: such an input is constant. Adding one number up over the 25,000
/// positions of a batch of images may be off by that much in `f32`.
const ROUNDING_OF_VARIANCE: f64 = 1e-3;

/// `S` on the input side of a weight, with `SᵀS = A⁻¹` for `A = diag(d) + x̄ x̄ᵀ`, where the mean of `d` is scaled to 1:
///
/// ```text
/// x̃ = d^-½ x̄      n = ‖x̃‖²      T = (I + x̃ x̃ᵀ)^-½ = I − x̃ x̃ᵀ / (√(1 + n) (√(1 + n) + 1))      S = T diag(d^-½)
/// ```
///
/// `T` is symmetric, and `T² = I − x̃ x̃ᵀ / (1 + n)` (Sherman–Morrison). Each is one product with a vector and one rank-one update.
/// The vector is kept as `x̂ = x̃ / m` with `m = max |x̃|`, so that squares neither overflow nor vanish. Vectors are `[means, size, 1]`,
/// or `[means, 1, size]` for a weight with the inputs last; numbers are `[means, 1, 1]`.
#[derive(Debug, Clone)]
pub(crate) struct InverseRoot<B: Backend> {
    kind: LayerKind,
    /// None where all of `d` is 1.
    diagonal: Option<Diagonal<B>>,
    /// `x̂`.
    direction: Tensor<B, 3>,
    /// `1 / m²`.
    identity: Tensor<B, 3>,
    /// Of `x̂ x̂ᵀ` in `T`, `1 / (r (r + 1 / m))` with `r² = 1 / m² + ‖x̂‖²`.
    in_root: Tensor<B, 3>,
    /// The same in `T²`, `1 / r²`.
    in_square: Tensor<B, 3>,
}

/// The vectors that a step makes of `d`.
#[derive(Debug, Clone)]
struct Diagonal<B: Backend> {
    /// `d^-½`.
    root: Tensor<B, 3>,
    /// `d⁻¹`.
    inverse: Tensor<B, 3>,
    /// `d^-½ x̂`.
    direction: Tensor<B, 3>,
}

/// Matrices of a weight that have their inputs in common: one, or one for each group of a convolution.
#[derive(Debug, Clone)]
pub(crate) struct Matrices<B: Backend> {
    /// `[groups, inputs, outputs]`, or with the inputs last.
    pub(crate) values: Tensor<B, 3>,
    /// The axis of the inputs: 1 or 2.
    pub(crate) input_axis: usize,
    /// The first of the means that they have.
    mean: usize,
}

impl<B: Backend> Matrices<B> {
    /// The matrices of a weight: the projections to queries, keys and values are one each.
    pub(crate) fn of<const D: usize>(kind: LayerKind, weight: Tensor<B, D>) -> Vec<Self> {
        let dims = weight.dims();
        let (means, size) = kind.means_and_size(&dims);
        let outputs = kind.size_output(&dims);
        match kind {
            LayerKind::Conv2d { groups } => vec![Self {
                values: weight.reshape([groups, outputs / groups, size]),
                input_axis: 2,
                mean: 0,
            }],
            LayerKind::Linear => vec![Self {
                values: weight.reshape([1, size, outputs]),
                input_axis: 1,
                mean: 0,
            }],
            LayerKind::FusedAttention | LayerKind::GroupedQueryAttention { .. } => {
                let values = kind.value_columns(outputs).unwrap_or(0);
                // As wide as values, where nothing tells keys from queries.
                let keys = values.min(outputs - values);
                let queries = outputs - values - keys;
                let weight = weight.reshape([1, size, outputs]);
                let mut start = 0;
                let parts =
                    [(queries, 0), (keys, 0), (values, means - 1)].map(|(columns, mean)| {
                        let values =
                            (columns > 0).then(|| weight.clone().narrow(2, start, columns));
                        start += columns;
                        values.map(|values| Self {
                            values,
                            input_axis: 1,
                            mean,
                        })
                    });
                parts.into_iter().flatten().collect()
            }
        }
    }

    /// The weight of these matrices.
    pub(crate) fn join<const D: usize>(matrices: Vec<Self>, shape: [usize; D]) -> Tensor<B, D> {
        let mut values: Vec<_> = matrices.into_iter().map(|part| part.values).collect();
        match values.len() {
            1 => values.remove(0).reshape(shape),
            _ => Tensor::cat(values, 2).reshape(shape),
        }
    }

    pub(crate) fn map(self, map: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>) -> Self {
        Self {
            values: map(self.values),
            ..self
        }
    }

    /// The rows of a tensor with one for each mean that belong to these matrices.
    fn own(&self, of_means: &Tensor<B, 3>) -> Tensor<B, 3> {
        let ([groups, ..], [means, ..]) = (self.values.dims(), of_means.dims());
        match means == groups {
            true => of_means.clone(),
            false => of_means.clone().narrow(0, self.mean, groups),
        }
    }

    /// `f · v (vᵀ Y)` with a vector and a number of each mean.
    fn projection(&self, vectors: &Tensor<B, 3>, factors: &Tensor<B, 3>) -> Tensor<B, 3> {
        let vectors = self.own(vectors);
        let transposed = vectors.clone().swap_dims(1, 2);
        let product = match self.input_axis {
            1 => transposed.matmul(self.values.clone()),
            _ => self.values.clone().matmul(transposed),
        };
        vectors * (product * self.own(factors))
    }
}

impl<B: Backend> InverseRoot<B> {
    /// Of `d = ρ`; at infinity the identity.
    pub(crate) fn of_damping(kind: LayerKind, mean: &Tensor<B, 2>, damping: f64) -> Self {
        let largest = largest(mean);
        let direction = mean.clone() / largest.clone();
        let magnitude = largest.mul_scalar(1.0 / damping.sqrt());
        Self::new(kind, None, direction, magnitude)
    }

    /// Of `d = Var x + δ v`, with the mean variance `v` of the inputs that vary. A constant input has the mean of `d`, and where none
    /// varies this is the identity.
    ///
    /// `square` is `E[x²]`, shaped like the mean; `δ` is finite.
    pub(crate) fn of_variance(
        kind: LayerKind,
        mean: &Tensor<B, 2>,
        square: &Tensor<B, 2>,
        damping: f64,
    ) -> Self {
        // In units of the largest, whose square root is at least the mean's magnitude.
        let unit = largest(square);
        let square = square.clone() / unit.clone();
        let mean = mean.clone() / unit.sqrt();
        let variance = square.clone() - mean.clone().square();
        let constant = variance
            .clone()
            .lower_equal(square.mul_scalar(ROUNDING_OF_VARIANCE));
        let variance = variance.mask_fill(constant.clone(), 0.0);
        let varying = constant.clone().bool_not().float();
        let varying = as_dtype(varying, variance.dtype()).sum_dim(1);
        let mean_variance = variance.clone().sum_dim(1) / varying.clamp_min(1.0);
        let none = mean_variance.clone().lower_equal_elem(0.0);
        let mean_variance = mean_variance.mask_fill(none.clone(), 1.0);

        let relative = (variance / mean_variance.clone())
            .mul_scalar(1.0 / (1.0 + damping))
            .add_scalar(damping / (1.0 + damping));
        let relative = relative.mask_fill(constant, 1.0);
        let scale = relative.ones_like() / relative.sqrt();
        let direction = mean * scale.clone();
        let largest = largest(&direction);
        let direction = direction / largest.clone();
        let magnitude = largest / mean_variance.sqrt().mul_scalar((1.0 + damping).sqrt());
        Self::new(kind, Some(scale), direction, magnitude.mask_fill(none, 0.0))
    }

    /// Of `d^-½`, `x̂` and `m`.
    fn new(
        kind: LayerKind,
        scale: Option<Tensor<B, 2>>,
        direction: Tensor<B, 2>,
        magnitude: Tensor<B, 2>,
    ) -> Self {
        let along_inputs = |vectors: Tensor<B, 2>| match kind {
            LayerKind::Conv2d { .. } => vectors.unsqueeze_dim::<3>(1),
            _ => vectors.unsqueeze_dim(2),
        };
        let direction = along_inputs(direction);
        let magnitude = magnitude.unsqueeze_dim::<3>(2);
        let ones = magnitude.ones_like();
        // Beyond these the result is the same, and squares are within the range of `f32`.
        let inverse = ones.clone() / magnitude.clamp(1e-18, 1e18);
        let identity = inverse.clone().square();
        let norm = identity.clone() + direction.clone().square().sum_dim(1).sum_dim(2);
        let root = norm.clone().sqrt();
        Self {
            kind,
            diagonal: scale.map(along_inputs).map(|root| Diagonal {
                inverse: root.clone().square(),
                direction: root.clone() * direction.clone(),
                root,
            }),
            direction,
            identity,
            in_root: ones.clone() / (root.clone() * (root + inverse)),
            in_square: ones / norm,
        }
    }

    /// The same on a device.
    pub(crate) fn to_device(&self, device: &B::Device) -> Self {
        if self.direction.device() == *device {
            return self.clone();
        }
        let moved = |tensor: &Tensor<B, 3>| tensor.clone().to_device(device);
        Self {
            kind: self.kind,
            diagonal: self.diagonal.as_ref().map(|diagonal| Diagonal {
                root: moved(&diagonal.root),
                inverse: moved(&diagonal.inverse),
                direction: moved(&diagonal.direction),
            }),
            direction: moved(&self.direction),
            identity: moved(&self.identity),
            in_root: moved(&self.in_root),
            in_square: moved(&self.in_square),
        }
    }

    /// `1 / (1 + n)`, the share of what acts on the mean input that `A⁻¹` keeps, the mean over the means. Reads from the device.
    pub(super) fn gain(&self) -> f64 {
        let gains = (self.identity.clone() * self.in_square.clone()).into_data();
        gains.iter::<f64>().sum::<f64>() / gains.num_elements() as f64
    }

    pub(crate) fn kind(&self) -> LayerKind {
        self.kind
    }

    /// `S Y`.
    pub(crate) fn apply(&self, matrices: Matrices<B>) -> Matrices<B> {
        let scaled = self.scaled(matrices);
        self.without_direction(scaled, &self.in_root)
    }

    /// `Sᵀ Y`.
    pub(crate) fn apply_transposed(&self, matrices: Matrices<B>) -> Matrices<B> {
        self.scaled(self.without_direction(matrices, &self.in_root))
    }

    /// `SᵀS Y = A⁻¹ Y`, as `d⁻¹ Y − f · u (uᵀ Y)` with `u = d^-½ x̂`: one pass less over `Y` than by `S` and `Sᵀ`.
    pub(crate) fn apply_both(&self, matrices: Matrices<B>) -> Matrices<B> {
        let Some(diagonal) = &self.diagonal else {
            return self.without_direction(matrices, &self.in_square);
        };
        let projection = matrices.projection(&diagonal.direction, &self.in_square);
        let inverse = matrices.own(&diagonal.inverse);
        matrices.map(|values| values * inverse - projection)
    }

    /// `A⁻¹ G` of a whole weight.
    pub(super) fn precondition<const D: usize>(&self, weight: Tensor<B, D>) -> Tensor<B, D> {
        let shape = weight.dims();
        let here = self.to_device(&weight.device());
        let parts = Matrices::of(self.kind, weight).into_iter();
        Matrices::join(parts.map(|part| here.apply_both(part)).collect(), shape)
    }

    fn scaled(&self, matrices: Matrices<B>) -> Matrices<B> {
        match &self.diagonal {
            Some(diagonal) => {
                let root = matrices.own(&diagonal.root);
                matrices.map(|values| values * root)
            }
            None => matrices,
        }
    }

    /// `Y − f · x̂ (x̂ᵀ Y)`.
    fn without_direction(&self, matrices: Matrices<B>, factor: &Tensor<B, 3>) -> Matrices<B> {
        let projection = matrices.projection(&self.direction, factor);
        matrices.map(|values| values - projection)
    }

    pub(super) fn bytes(&self) -> usize {
        let Self {
            direction,
            identity,
            in_root,
            in_square,
            ..
        } = self;
        let diagonal = self.diagonal.as_ref();
        let of_diagonal = diagonal.map_or(0, |diagonal| {
            bytes(&diagonal.root) + bytes(&diagonal.inverse) + bytes(&diagonal.direction)
        });
        let rest = [direction, identity, in_root, in_square];
        of_diagonal + rest.into_iter().map(bytes).sum::<usize>()
    }
}

/// The largest magnitude of each row, above 0.
fn largest<B: Backend>(vectors: &Tensor<B, 2>) -> Tensor<B, 2> {
    let largest = vectors.clone().abs().max_dim(1);
    largest.clamp_min(SMALLEST_MAGNITUDE)
}

#[cfg(test)]
mod tests;
