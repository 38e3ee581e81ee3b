//! The mean of a layer's inputs beside their variances.

use super::rank_one::SMALLEST_MAGNITUDE;
use crate::precision::as_dtype;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The part of a mean square below which a variance may be rounding: such an input is constant. Adding one number up over the 25,000
/// positions of a batch of images may be off by that much in `f32`.
const ROUNDING_OF_VARIANCE: f64 = 1e-3;

/// The mean of a layer's inputs in units in which their curvature is `I + x̃ x̃ᵀ`: `x̃ = d^-½ x̄` for `A = diag(d) + x̄ x̄ᵀ`, where the mean of
/// `d` is scaled to 1.
///
/// It is kept as `x̂ = x̃ / m` with `m = max |x̃|`, so that squares neither overflow nor vanish.
#[derive(Debug)]
pub(crate) struct WhitenedMean<B: Backend> {
    /// `d^-½`, `[means, size]`; none where all of it is 1.
    pub(super) scale: Option<Tensor<B, 2>>,
    /// `x̂`, `[means, size]`.
    pub(super) direction: Tensor<B, 2>,
    /// `m`, `[means, 1]`.
    pub(super) magnitude: Tensor<B, 2>,
    /// Whether nothing is left of the mean, as at infinite damping.
    pub(super) vanishes: bool,
}

impl<B: Backend> WhitenedMean<B> {
    /// Of `d = ρ`; at infinity nothing is left of the mean.
    pub(crate) fn of_damping(mean: &Tensor<B, 2>, damping: f64) -> Self {
        let largest = largest(mean);
        Self {
            scale: None,
            direction: mean.clone() / largest.clone(),
            magnitude: largest.mul_scalar(1.0 / damping.sqrt()),
            vanishes: damping.is_infinite(),
        }
    }

    /// Of a diagonal curvature, without a mean beside it; `scale` is `d^-½`, `[means, size]`.
    pub(crate) fn of_diagonal(scale: Tensor<B, 2>) -> Self {
        let direction = scale.zeros_like();
        Self {
            magnitude: direction.clone().sum_dim(1),
            direction,
            scale: Some(scale),
            vanishes: true,
        }
    }

    /// Of `d = Var x + δ v`, with the mean variance `v` of the inputs that vary. A constant input has the mean of `d`; where none
    /// varies, nothing is left of the mean.
    ///
    /// `square` is `E[x²]`, shaped like the mean; `δ` is finite.
    pub(crate) fn of_variance(mean: &Tensor<B, 2>, square: &Tensor<B, 2>, damping: f64) -> Self {
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
        let magnitude = largest.clone() / mean_variance.sqrt().mul_scalar((1.0 + damping).sqrt());
        Self {
            scale: Some(scale),
            direction: direction / largest,
            magnitude: magnitude.mask_fill(none, 0.0),
            vanishes: false,
        }
    }

    /// `m`, beyond whose limits the result is the same, and squares are within the range of `f32`.
    pub(super) fn limited_magnitude(&self) -> Tensor<B, 2> {
        // In two operations: where a fused kernel broadcasts the tensor, nvrtc refuses what Burn 0.21 makes of `clamp`.
        let magnitude = self.magnitude.clone().clamp_min(1e-18);
        magnitude.clamp_max(1e18)
    }

    /// `1 / m` and `‖x̃‖² / m²`, `[means, 1]`.
    pub(super) fn inverse_and_norm(&self) -> [Tensor<B, 2>; 2] {
        let magnitude = self.limited_magnitude();
        let norm = self.direction.clone().square().sum_dim(1);
        [magnitude.ones_like() / magnitude, norm]
    }

    /// `1 / (1 + n)`, the share of what acts on the mean input that `A⁻¹` keeps, the mean over the means. Reads from the device.
    pub(super) fn gain(&self) -> f64 {
        let [inverse, norm] = self.inverse_and_norm();
        let one = inverse.square();
        let gains = (one.clone() / (one + norm)).into_data();
        gains.iter::<f64>().sum::<f64>() / gains.num_elements() as f64
    }
}

/// The largest magnitude of each row, above 0.
fn largest<B: Backend>(vectors: &Tensor<B, 2>) -> Tensor<B, 2> {
    let largest = vectors.clone().abs().max_dim(1);
    largest.clamp_min(SMALLEST_MAGNITUDE)
}
