//! The rank-one preconditioner of a layer: tensor arithmetic only.

mod fused;
mod vectors;
mod whole;

use self::fused::Fused;
use self::vectors::Vectors;
use self::whole::Whole;
use crate::fusion::fuses;
use crate::record::layer::LayerKind;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// `I − a aᵀ / (ρ + ‖a‖²)` with `a = [x̄ ; 1]`, for each of a layer's means.
///
/// By Sherman and Morrison this is `ρ (ρ I + a aᵀ)⁻¹`. It is applied to the input side of a
/// gradient as one matrix-vector product and one rank-one update; the `d × d` matrix never exists.
///
/// A gradient is seen in one of three ways, by what the backend does fastest.
#[derive(Debug, Clone)]
pub(crate) enum RankOne<B: Backend> {
    /// A weight with one mean, `[size, columns]` or `[rows, …]`, where the backend fuses.
    Fused(Fused<B>),
    /// `[size, columns]` of a `Linear` with one mean.
    Whole(Whole<B>),
    /// `[size, parts, columns]` of a `Linear` of which each part has a mean, or `[means, rows, size]` of a
    /// `Conv2d`.
    Parts(Vectors<B>),
}

/// The gradients of one layer. Those of the weight are in the layout of the layer.
pub(crate) struct LayerGradients<B: Backend, const D: usize> {
    pub(crate) weight: Tensor<B, D>,
    pub(crate) bias: Option<Tensor<B, 1>>,
}

impl<B: Backend> RankOne<B> {
    /// # Shapes
    ///
    /// - mean: `[means, size + 1]`, the last column 1
    pub(crate) fn new(mean: Tensor<B, 2>, damping: f64, bias: bool, kind: LayerKind) -> Self {
        Self::made_for(fuses::<B>(), mean, damping, bias, kind)
    }

    /// The form that a backend is faster with that fuses, or one that does not. Every backend has the same results
    /// with both.
    fn made_for(
        fuses: bool,
        mean: Tensor<B, 2>,
        damping: f64,
        bias: bool,
        kind: LayerKind,
    ) -> Self {
        let [means, width] = mean.dims();
        debug_assert_eq!(means, kind.means());
        // A product, since a view would be copied by every step.
        let one = mean.clone().narrow(1, width - 1, 1).mul_scalar(1.0);
        let mean = mean.narrow(1, 0, width - 1);
        let mut norm = mean.clone().square().sum_dim(1);
        if bias {
            norm = norm + one.clone().square();
        }
        // Divided, since `recip` of `NdArray<f32>` is the processor's approximation.
        let scale = norm.ones_like() / norm.add_scalar(damping);
        match kind {
            LayerKind::Linear | LayerKind::Conv2d { groups: 1 } if fuses => {
                Self::Fused(Fused::new(mean, one, scale))
            }
            LayerKind::Linear => Self::Whole(Whole::new(mean, one, scale)),
            LayerKind::FusedAttention => Self::Parts(Vectors::new(mean, one, scale, |vectors| {
                by_part(vectors, &QKV)
            })),
            LayerKind::Conv2d { .. } => Self::Parts(Vectors::new(mean, one, scale, |vectors| {
                vectors.unsqueeze_dim(1)
            })),
        }
    }

    /// The number of elements of the tensors that it holds.
    pub(crate) fn elements(&self) -> usize {
        match self {
            Self::Fused(fused) => fused.elements(),
            Self::Whole(whole) => whole.elements(),
            Self::Parts(vectors) => vectors.elements(),
        }
    }

    pub(crate) fn moved_to(self, device: &B::Device) -> Self {
        match self {
            Self::Fused(fused) => Self::Fused(fused.moved_to(device)),
            Self::Whole(whole) => Self::Whole(whole.moved_to(device)),
            Self::Parts(vectors) => Self::Parts(vectors.moved_to(device)),
        }
    }

    /// Preconditions the gradients of a `Linear`, weight `[size, size_output]`.
    pub(crate) fn linear(
        self,
        gradients: LayerGradients<B, 2>,
        guard: bool,
    ) -> LayerGradients<B, 2> {
        let [size, size_output] = gradients.weight.dims();
        match self {
            Self::Fused(fused) => fused.linear(gradients, guard),
            Self::Whole(whole) => whole.apply(gradients, guard),
            Self::Parts(vectors) => {
                let [_, parts, _] = vectors.mean.dims();
                let columns = size_output / parts;
                let weight = gradients.weight.reshape([size, parts, columns]);
                let bias = gradients.bias.map(|bias| bias.reshape([1, parts, columns]));
                let along = columns_along_means;
                let (weight, bias) = vectors.apply(weight, bias, along, guard);
                LayerGradients {
                    weight: weight.reshape([size, size_output]),
                    bias: bias.map(|bias| bias.reshape([size_output])),
                }
            }
        }
    }

    /// Preconditions the gradients of a `Conv2d`, weight `[channels_out, …]`.
    pub(crate) fn conv2d(
        self,
        gradients: LayerGradients<B, 4>,
        guard: bool,
    ) -> LayerGradients<B, 4> {
        let vectors = match self {
            Self::Fused(fused) => return fused.conv2d(gradients, guard),
            Self::Parts(vectors) => vectors,
            Self::Whole(_) => unreachable!("a weight of two axes belongs to no convolution"),
        };
        let shape = gradients.weight.dims();
        let [means, _, size] = vectors.mean.dims();
        let rows = shape[0] / means;
        let weight = gradients.weight.reshape([means, rows, size]);
        let bias = gradients.bias.map(|bias| bias.reshape([means, rows, 1]));

        let (weight, bias) = vectors.apply(weight, bias, rows_along_mean, guard);
        LayerGradients {
            weight: weight.reshape(shape),
            bias: bias.map(|bias| bias.reshape([shape[0]])),
        }
    }
}

/// `x̄ᵀ G` of each part, `[size, parts, columns]` to `[1, parts, columns]`.
fn columns_along_means<B: Backend>(mean: Tensor<B, 3>, weight: Tensor<B, 3>) -> Tensor<B, 3> {
    if fuses::<B>() {
        return (weight * mean).sum_dim(0);
    }
    let [size, parts, columns] = weight.dims();
    let means = mean.reshape([size, parts]).transpose();
    // Each mean with all columns: parts of a weight are no tensors without copying them.
    let products = means.matmul(weight.reshape([size, parts * columns]));
    let products = products.reshape([parts, parts, columns]);
    let own = |part| products.clone().slice([part..part + 1, part..part + 1]);
    Tensor::cat((0..parts).map(own).collect(), 1)
}

/// `G x̄` of each mean, `[means, rows, size]` to `[means, rows, 1]`.
fn rows_along_mean<B: Backend>(mean: Tensor<B, 3>, weight: Tensor<B, 3>) -> Tensor<B, 3> {
    match fuses::<B>() {
        true => (weight * mean).sum_dim(2),
        false => weight.matmul(mean.swap_dims(1, 2)),
    }
}

/// The means of the queries', keys' and values' columns: that of the tokens, twice, and that through
/// attention.
const QKV: [usize; 3] = [0, 0, 1];

/// A vector of each mean, `[means, size]`, for parts that have these means, as `[size, parts, 1]`.
fn by_part<B: Backend>(vectors: Tensor<B, 2>, means: &[usize]) -> Tensor<B, 3> {
    let [_, size] = vectors.dims();
    let of_part = |mean: &usize| vectors.clone().narrow(0, *mean, 1).reshape([size, 1, 1]);
    Tensor::cat(means.iter().map(of_part).collect(), 1)
}

#[cfg(test)]
mod tests;
