use crate::curvature::{InverseRoot, Matrices};
use crate::layer::LayerKind;
use burn::optim::LearningRate;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

/// The root mean square of a step of AdamW, in learning rates: what it is in practice, with which those of AdamW carry over
/// (Liu et al. 2025, "Muon is Scalable for LLM Training").
const ADAMW_RMS: f64 = 0.2;

/// The smallest root mean square that is divided by. Squares of smaller numbers vanish in `f32`.
const SMALLEST_RMS: f64 = 1e-18;

/// The share of a matrix's root mean square below which that of a row or column is not what it is divided by.
const SMALLEST_SHARE: f64 = 0.01;

/// Coefficients of a Newton–Schulz iteration towards the nearest orthogonal matrix (Jordan et al. 2024, Muon).
const NEWTON_SCHULZ: [f64; 3] = [3.4445, -4.775, 2.0315];

/// The step that is made of the momentum `M` of a parameter.
///
/// Only the first is the paper's. The others are of momentum of the *raw* gradient, and have the length of AdamW's step, so
/// that the learning rates of AdamW carry over. `S` is a square root of the inverse curvature, `SᵀS = A⁻¹`, on the input side;
/// `rms(R)` is over each matrix: a weight, each of the projections to queries, keys and values, each group of a convolution.
///
/// | | of a recorded layer's weight | of other parameters |
/// |---|---|---|
/// | `Momentum` | momentum of `A⁻¹ G` | momentum |
/// | `Normalized` | `0.2 R / rms(R)` with `R = Sᵀ S M` | `0.2 M / rms(M)` |
/// | `RowsAndColumns` | the same with `R = Sᵀ N(C(S M))` | `0.2 M / rms(M)` |
/// | `Orthogonal` | the same with `R = Sᵀ O(S M)` | `0.2 M / rms(M)` |
///
/// `C` divides the weights of each input by their root mean square, and `N` those of each neuron (an output), but by no less than a
/// hundredth of that of the whole matrix: a neuron whose gradient has stopped does not go on. A single number is left as it is. `O` approximates the nearest orthogonal matrix by Newton–Schulz iterations with Muon's coefficients: five bring singular values
/// above 0.002 of the Frobenius norm to between 0.65 and 1.25. These steps do not shrink with the gradient, while its elements are above
/// 1e-18 (in `f16` above 6e-8), so decay the learning rate to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StepForm {
    /// Momentum of the preconditioned gradient.
    #[default]
    Momentum,
    /// The preconditioned momentum, with the length of AdamW's step.
    Normalized,
    /// `S M` with the weights of each input, and then of each neuron, divided by their root mean square; multiplied by `Sᵀ`, with the
    /// length of AdamW's step.
    RowsAndColumns,
    /// `S M` made orthogonal; multiplied by `Sᵀ`, with the length of AdamW's step.
    Orthogonal {
        /// Newton–Schulz iterations, at least 1; Muon has 5.
        iterations: usize,
    },
}

impl StepForm {
    /// The step of a parameter with a learning rate, from its momentum and the inverse root of its curvature.
    pub(super) fn step<B: Backend, const D: usize>(
        self,
        lr: LearningRate,
        momentum: Tensor<B, D>,
        root: Option<&InverseRoot<B>>,
    ) -> Tensor<B, D> {
        let length = lr * ADAMW_RMS;
        let direction = match (self, root) {
            (Self::Momentum, _) => return momentum.mul_scalar(lr),
            (_, None) => return with_rms(length, None, momentum),
            (Self::Normalized, Some(root)) => root.apply_both(momentum),
            (Self::RowsAndColumns, Some(root)) => {
                between_roots(root, momentum, |values, inputs| {
                    divided_by_rms(divided_by_rms(values, 3 - inputs), inputs)
                })
            }
            (Self::Orthogonal { iterations }, Some(root)) => {
                between_roots(root, momentum, |values, _| {
                    newton_schulz(values, iterations)
                })
            }
        };
        with_rms(length, root.map(InverseRoot::kind), direction)
    }
}

/// `Sᵀ f(S M)` with a function of `[groups, …]` matrices and the axis of the inputs.
fn between_roots<B: Backend, const D: usize>(
    root: &InverseRoot<B>,
    momentum: Tensor<B, D>,
    function: impl Fn(Tensor<B, 3>, usize) -> Tensor<B, 3>,
) -> Tensor<B, D> {
    let shape = momentum.dims();
    let root = root.to_device(&momentum.device());
    let parts = Matrices::of(root.kind(), momentum).into_iter();
    let parts = parts.map(|part| {
        let inputs = part.input_axis;
        let whitened = root.apply(part);
        root.apply_transposed(whitened.map(|values| function(values, inputs)))
    });
    Matrices::join(parts.collect(), shape)
}

/// Each vector along an axis divided by its root mean square, or by [`SMALLEST_SHARE`] of that of the matrix. One number by itself would be
/// its sign, and stays.
fn divided_by_rms<B: Backend>(matrices: Tensor<B, 3>, axis: usize) -> Tensor<B, 3> {
    if matrices.dims()[axis] == 1 {
        return matrices;
    }
    let squares = matrices.clone().square().mean_dim(axis);
    let least = squares.clone().mean_dim(3 - axis);
    let least = least.mul_scalar(SMALLEST_SHARE * SMALLEST_SHARE);
    let rms = squares
        .clone()
        .max_pair(least.expand(squares.shape()))
        .sqrt();
    matrices / rms.clamp_min(SMALLEST_RMS)
}

/// Each matrix of a layer's weight with this root mean square, or all of another parameter.
fn with_rms<B: Backend, const D: usize>(
    length: f64,
    layer: Option<LayerKind>,
    parameter: Tensor<B, D>,
) -> Tensor<B, D> {
    let shape = parameter.dims();
    let count: usize = shape.iter().product();
    let scaled = |matrices: Tensor<B, 3>, squares: Tensor<B, 3>, count: usize| {
        let root = (count as f64).sqrt();
        let norm = squares.sqrt().clamp_min(SMALLEST_RMS * root);
        // One product with the quotient: to divide takes a processor three times as long.
        let factor = norm.full_like(length * root) / norm;
        (matrices * factor).reshape(shape)
    };
    match layer {
        Some(LayerKind::FusedAttention) => {
            let rows = shape[0];
            let matrices = parameter.reshape([rows, 3, count / rows / 3]);
            let squares = matrices.clone().square().sum_dim(2).sum_dim(0);
            // In every row, since a processor is slow with a factor that is one number of the second axis.
            scaled(matrices, squares.repeat_dim(0, rows), count / 3)
        }
        Some(kind @ LayerKind::GroupedQueryAttention { .. }) => {
            let parts = Matrices::of(kind, parameter).into_iter();
            let parts = parts.map(|part| part.map(|values| with_rms(length, None, values)));
            Matrices::join(parts.collect(), shape)
        }
        // The matrices of groups follow each other in the weight, transposed or not.
        _ => {
            let groups = layer.map_or(1, LayerKind::groups);
            let matrices = parameter.reshape([groups, 1, count / groups]);
            let squares = matrices.clone().square().sum_dim(2);
            scaled(matrices, squares, count / groups)
        }
    }
}

/// The orthogonal matrix nearest to each, approximately: singular values near 1, for those that are not far below the largest.
fn newton_schulz<B: Backend>(matrices: Tensor<B, 3>, iterations: usize) -> Tensor<B, 3> {
    let [_, rows, columns] = matrices.dims();
    // The products of rows with rows are the smaller matrix then.
    let tall = rows > columns;
    let mut x = match tall {
        true => matrices.swap_dims(1, 2),
        false => matrices,
    };
    let norm = x.clone().square().sum_dim(2).sum_dim(1).sqrt();
    x = x / norm.clamp_min(SMALLEST_RMS);
    let [a, b, c] = NEWTON_SCHULZ;
    for _ in 0..iterations {
        let products = x.clone().matmul(x.clone().swap_dims(1, 2));
        let squares = products.clone().matmul(products.clone());
        let polynomial = products.mul_scalar(b) + squares.mul_scalar(c);
        x = x.clone().mul_scalar(a) + polynomial.matmul(x);
    }
    match tall {
        true => x.swap_dims(1, 2),
        false => x,
    }
}

#[cfg(test)]
mod tests;
