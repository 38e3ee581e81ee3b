//! A square root of a curvature's inverse.

use super::WeightGradient;
use super::averages::Augmented;
use super::matrices::Matrices;
use super::rank_one::{RankOne, vectors_of_parts};
use super::whitened_mean::WhitenedMean;
use crate::layer::LayerKind;
use crate::precision::{bytes, full_precision_matmul};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// `S` on the input side of a weight, with `SᵀS = A⁻¹` for `A = diag(d) + x̄ x̄ᵀ`, made of a [`WhitenedMean`] `x̃ = d^-½ x̄`:
///
/// ```text
/// n = ‖x̃‖²      T = (I + x̃ x̃ᵀ)^-½ = I − x̃ x̃ᵀ / (√(1 + n) (√(1 + n) + 1))      S = T diag(d^-½)      Sᵀ = diag(d^-½) T
/// ```
///
/// `T` is symmetric, and `T² = I − x̃ x̃ᵀ / (1 + n)` (Sherman–Morrison) is [`RankOne`] of `x̃` with a damping of 1. Each is one product with a vector
/// and one rank-one update. Vectors are `[means, size, 1]`, or `[means, 1, size]` for a weight with the inputs last; numbers are
/// `[means, 1, 1]`.
#[derive(Debug, Clone)]
pub(crate) struct InverseRoot<B: Backend> {
    kind: LayerKind,
    /// `d^-½`; none where all of it is 1.
    scale: Option<Tensor<B, 3>>,
    /// `x̂`.
    direction: Tensor<B, 3>,
    /// Of `x̂ x̂ᵀ` in `T`, `1 / (r (r + 1 / m))` with `r² = 1 / m² + ‖x̂‖²`.
    in_root: Tensor<B, 3>,
    /// `T²` of a whole weight; none where it is known to be the identity.
    square: Option<RankOne<B>>,
    /// `d^-½` in a shape that broadcasts over a projection to queries, keys and values of one size, `[size, 3, 1]`.
    scale_of_three: Option<Tensor<B, 3>>,
}

impl<B: Backend> InverseRoot<B> {
    /// Of a weight with so many outputs.
    pub(crate) fn new(kind: LayerKind, size_output: usize, mean: WhitenedMean<B>) -> Self {
        let along_inputs = |vectors: Tensor<B, 2>| match kind.has_outputs_first() {
            true => vectors.unsqueeze_dim::<3>(1),
            false => vectors.unsqueeze_dim(2),
        };
        let [inverse, norm] = mean.inverse_and_norm();
        let root = (inverse.clone().square() + norm).sqrt();
        let in_root = root.ones_like() / (root.clone() * (root + inverse));
        let square = (!mean.vanishes).then(|| {
            let whitened = Augmented {
                inputs: mean.direction.clone() * mean.limited_magnitude(),
                one: mean.magnitude.zeros_like(),
            };
            RankOne::new(&whitened, 1.0, false, kind.of_gradient(), size_output)
        });
        let scale_of_three = mean
            .scale
            .clone()
            .filter(|_| kind == LayerKind::FusedAttention);
        Self {
            kind,
            direction: along_inputs(mean.direction),
            scale: mean.scale.map(along_inputs),
            in_root: in_root.unsqueeze_dim(2),
            square,
            scale_of_three: scale_of_three.map(|scale| vectors_of_parts(&scale, 3)),
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
            scale: self.scale.as_ref().map(moved),
            direction: moved(&self.direction),
            in_root: moved(&self.in_root),
            square: self.square.as_ref().map(|square| square.to_device(device)),
            scale_of_three: self.scale_of_three.as_ref().map(moved),
        }
    }

    pub(crate) fn kind(&self) -> LayerKind {
        self.kind
    }

    /// `S Y`.
    pub(crate) fn apply(&self, matrices: Matrices<B>) -> Matrices<B> {
        self.without_direction(self.scaled(matrices))
    }

    /// `Sᵀ Y`.
    pub(crate) fn apply_transposed(&self, matrices: Matrices<B>) -> Matrices<B> {
        self.scaled(self.without_direction(matrices))
    }

    /// `SᵀS Y = A⁻¹ Y` of a whole weight, as `diag(d^-½) T² diag(d^-½) Y`: a product less than by `S` and `Sᵀ`.
    pub(crate) fn apply_both<const D: usize>(&self, weight: Tensor<B, D>) -> Tensor<B, D> {
        let shape = weight.dims();
        let here = self.to_device(&weight.device());
        let weight = here.scaled_weight(weight);
        let Some(square) = &here.square else {
            return here.scaled_weight(weight);
        };
        let weight = WeightGradient::of(here.kind, weight);
        let updated = square.apply_to_weight(weight);
        here.scaled_weight(updated.into_tensor(here.kind, shape))
    }

    /// `diag(d^-½) Y` of a whole weight.
    fn scaled_weight<const D: usize>(&self, weight: Tensor<B, D>) -> Tensor<B, D> {
        let Some(scale) = &self.scale else {
            return weight;
        };
        let shape = weight.dims();
        match &self.scale_of_three {
            Some(scale) => {
                let [size, parts, _] = scale.dims();
                let columns = self.kind.size_output(&shape) / parts;
                (weight.reshape([size, parts, columns]) * scale.clone()).reshape(shape)
            }
            None => {
                let parts = Matrices::of(self.kind, weight).into_iter();
                Matrices::join(parts.map(|part| part.scaled(scale)).collect(), shape)
            }
        }
    }

    fn scaled(&self, matrices: Matrices<B>) -> Matrices<B> {
        match &self.scale {
            Some(scale) => matrices.scaled(scale),
            None => matrices,
        }
    }

    /// `T Y = Y − f · x̂ (x̂ᵀ Y)`.
    fn without_direction(&self, matrices: Matrices<B>) -> Matrices<B> {
        let direction = matrices.own(&self.direction);
        let transposed = direction.clone().swap_dims(1, 2);
        let product = match matrices.input_axis {
            1 => full_precision_matmul(transposed, matrices.values.clone()),
            _ => full_precision_matmul(matrices.values.clone(), transposed),
        };
        let projection = direction * (product * matrices.own(&self.in_root));
        matrices.map(|values| values - projection)
    }

    pub(super) fn bytes(&self) -> usize {
        let optional = [&self.scale, &self.scale_of_three].into_iter().flatten();
        let all = optional.chain([&self.direction, &self.in_root]);
        all.map(bytes).sum::<usize>() + self.square.as_ref().map_or(0, RankOne::bytes)
    }
}

#[cfg(test)]
mod tests;
