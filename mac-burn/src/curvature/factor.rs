//! A dense factor of a curvature, and its inverse.

use super::moving_average::{Means, MovingAverage, MovingAverageRecord, Start, are_of, load_all};
use crate::precision::bytes;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// A matrix that is not positive definite is inverted again with so many times the damping.
const RETRY: f64 = 10.0;

/// Matrices up to this size are inverted by Cholesky; larger ones by halves, so that nearly all of the time goes to products of matrices,
/// for which there are faster ways.
const CHOLESKY: usize = 64;

/// The moving average of a layer's second moments on one side, by part, and the inverses of that with damping.
#[derive(Debug, Clone)]
pub(super) struct Factor<B: Backend> {
    average: MovingAverage<B>,
    /// `[groups, size, size]` each, for parts or for blocks of outputs; none before the first refresh.
    inverse: Option<Vec<Tensor<B, 3>>>,
}

/// A [`Factor`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FactorRecord {
    pub(super) average: MovingAverageRecord,
    inverse: Option<Vec<TensorData>>,
}

impl<B: Backend> Factor<B> {
    /// One that has seen nothing, shaped like the means of the first batch.
    pub(super) fn new(start: Start, first: &[Tensor<B, 3>]) -> Self {
        Self {
            average: MovingAverage::new(start, first),
            inverse: None,
        }
    }

    pub(super) fn device(&self) -> B::Device {
        self.average.device()
    }

    pub(super) fn average_mut(&mut self) -> &mut MovingAverage<B> {
        &mut self.average
    }

    /// The average, bias-corrected, on the host; none while nothing was seen. Reads from the device.
    pub(super) fn read(&self) -> Option<Vec<HostMatrices>> {
        let weight = self.average.weight.to_data().iter::<f64>().next()?;
        let parts = self.average.parts.iter();
        (weight > 0.0).then(|| parts.map(|part| HostMatrices::read(part, weight)).collect())
    }

    /// Replaces the average by another of the same shape.
    pub(super) fn replace_average(&mut self, parts: &[HostMatrices]) {
        let all = self.average.parts.iter_mut().zip(parts);
        all.for_each(|(part, new)| *part = like(part, new.data()));
    }

    pub(super) fn set_inverse(&mut self, inverse: Vec<HostMatrices>) {
        let of_type = &self.average.parts[0];
        let inverse = inverse.iter().map(|inverse| like(of_type, inverse.data()));
        self.inverse = Some(inverse.collect());
    }

    /// The inverse of this index for gradients on a device; none before the first refresh.
    pub(super) fn inverse(&self, index: usize, device: &B::Device) -> Option<Tensor<B, 3>> {
        let inverse = self.inverse.as_ref()?.get(index)?.clone();
        Some(inverse.to_device(device))
    }

    pub(super) fn bytes(&self) -> usize {
        let inverse = self.inverse.iter().flatten();
        self.average.bytes() + inverse.map(bytes).sum::<usize>()
    }

    pub(super) fn to_record(&self) -> FactorRecord {
        let inverse = self.inverse.as_ref();
        FactorRecord {
            average: self.average.to_record(),
            inverse: inverse.map(|parts| parts.iter().map(Tensor::to_data).collect()),
        }
    }

    pub(super) fn from_record(record: FactorRecord, start: Start, device: &B::Device) -> Self {
        Self {
            average: MovingAverage::from_record(record.average, start, device),
            inverse: record.inverse.map(|parts| load_all(parts, device)),
        }
    }
}

impl FactorRecord {
    /// Whether it is of parts with these shapes, and has inverses with those.
    pub(super) fn fits(&self, parts: &[[usize; 3]], inverses: &[[usize; 3]]) -> bool {
        let inverse = self.inverse.as_ref();
        self.average.fits(parts) && inverse.is_none_or(|inverse| are_of(inverse, inverses))
    }
}

/// `V M` of rows `V`, `[groups, rows, size]`, and an inverse `M`.
///
/// With `bias_is_fixed` the last column of `V` is 0, of a bias that is not trained, and `M` stands for the inverse of the factor without the
/// bias: `M − m mᵀ / μ`, with the last column `m` of `M` and its last element `μ`.
pub(super) fn multiply<B: Backend>(
    rows: Tensor<B, 3>,
    inverse: Tensor<B, 3>,
    bias_is_fixed: bool,
) -> Tensor<B, 3> {
    let product = rows.matmul(inverse.clone());
    if !bias_is_fixed {
        return product;
    }
    let last = inverse.dims()[2] - 1;
    let row = inverse.narrow(1, last, 1);
    let corner = row.clone().narrow(2, last, 1);
    let along = product.clone().narrow(2, last, 1);
    product - along * (row / corner)
}

/// Data as a tensor in the type and on the device of another.
fn like<B: Backend>(tensor: &Tensor<B, 3>, data: TensorData) -> Tensor<B, 3> {
    Tensor::from_data(data, (&tensor.device(), tensor.dtype()))
}

/// Symmetric matrices on the host, in `f64`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HostMatrices(pub(super) Vec<DMatrix<f64>>);

impl HostMatrices {
    /// Of `[groups, size, size]`, divided by a number.
    fn read<B: Backend>(tensor: &Tensor<B, 3>, divisor: f64) -> Self {
        let [_, size, _] = tensor.dims();
        let elements: Vec<f64> = tensor.to_data().iter().collect();
        let groups = elements.chunks_exact(size * size);
        Self(
            groups
                .map(|group| DMatrix::from_row_slice(size, size, group) / divisor)
                .collect(),
        )
    }

    fn data(&self) -> TensorData {
        let size = self.0.first().map_or(0, DMatrix::nrows);
        // Symmetric, so column-major order is row-major order.
        let elements = self.0.iter().flat_map(|matrix| matrix.iter().copied());
        TensorData::new(elements.collect::<Vec<f64>>(), [self.0.len(), size, size])
    }

    /// With a number added to the diagonal of each.
    pub(super) fn damped(&self, damping: &[f64]) -> Self {
        let all = self.0.iter().zip(damping);
        Self(
            all.map(|(matrix, damping)| with_diagonal(matrix, *damping))
                .collect(),
        )
    }

    /// The inverses with damping on the diagonal, and whether any needed more of it than it was given; none if one
    /// cannot be inverted.
    pub(super) fn inverse(&self, damping: &[f64]) -> Option<(Self, bool)> {
        let mut retried = false;
        let all = self.0.iter().zip(damping);
        let inverses: Option<Vec<_>> = all
            .map(|(matrix, damping)| {
                inverse(with_diagonal(matrix, *damping)).or_else(|| {
                    retried = true;
                    inverse(with_diagonal(matrix, RETRY * damping))
                })
            })
            .collect();
        Some((Self(inverses?), retried))
    }
}

fn with_diagonal(matrix: &DMatrix<f64>, damping: f64) -> DMatrix<f64> {
    let mut damped = matrix.clone();
    (0..damped.nrows()).for_each(|index| damped[(index, index)] += damping);
    damped
}

/// The inverse of a symmetric positive definite matrix; none if it is not.
///
/// Of a large one by that of its first half `A` and of the Schur complement `S = C − B A⁻¹ Bᵀ`:
///
/// ```text
/// ⎡A  Bᵀ⎤⁻¹   ⎡A⁻¹ + Wᵀ S⁻¹ W   −Wᵀ S⁻¹⎤
/// ⎣B  C ⎦   = ⎣−S⁻¹ W            S⁻¹    ⎦   with W = B A⁻¹
/// ```
pub(super) fn inverse(matrix: DMatrix<f64>) -> Option<DMatrix<f64>> {
    let size = matrix.nrows();
    if size <= CHOLESKY {
        let inverse = matrix.cholesky()?.inverse();
        return inverse
            .iter()
            .all(|value| value.is_finite())
            .then_some(inverse);
    }
    let half = size / 2;
    let rest = size - half;
    let first = inverse(matrix.view((0, 0), (half, half)).into_owned())?;
    let below = matrix.view((half, 0), (rest, half));
    let projection = below * &first;
    let complement = matrix.view((half, half), (rest, rest)) - &projection * below.transpose();
    let last = inverse(symmetric(complement))?;
    let corner = &last * &projection;
    let mut joined = DMatrix::zeros(size, size);
    let upper = first + projection.transpose() * &corner;
    joined
        .view_mut((0, 0), (half, half))
        .copy_from(&symmetric(upper));
    joined
        .view_mut((half, 0), (rest, half))
        .copy_from(&(-&corner));
    joined
        .view_mut((0, half), (half, rest))
        .copy_from(&(-corner.transpose()));
    joined.view_mut((half, half), (rest, rest)).copy_from(&last);
    Some(joined)
}

/// Without the rounding by which a product is not symmetric.
fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let transposed = matrix.transpose();
    (matrix + transposed) * 0.5
}

/// The inversions of a layer's factors that did not succeed at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedInversions {
    /// Inversions that needed more damping than the setting.
    pub(crate) retried: u64,
    /// Inversions after which the layer kept its last inverse.
    pub(crate) failed: u64,
}

impl FailedInversions {
    /// Counts an inversion; none if it failed.
    pub(super) fn count<T>(&mut self, inverted: Option<(T, bool)>) -> Option<T> {
        match inverted {
            Some((inverse, retried)) => {
                self.retried += u64::from(retried);
                Some(inverse)
            }
            None => {
                self.failed += 1;
                None
            }
        }
    }
}

/// The inverses of matrices with the damping of each of their groups, and whether any needed more than that; none if one cannot be
/// inverted.
pub(super) fn inverses<'a>(
    damped: impl Iterator<Item = (&'a HostMatrices, Vec<f64>)>,
) -> Option<(Vec<HostMatrices>, bool)> {
    let inverted = damped.map(|(matrices, damping)| matrices.inverse(&damping));
    let (inverses, retried): (Vec<_>, Vec<bool>) =
        inverted.collect::<Option<Vec<_>>>()?.into_iter().unzip();
    Some((inverses, retried.contains(&true)))
}

/// The means of a batch's second moments of inputs, without the row and column of a bias that is not preconditioned.
pub(super) fn without_bias<B: Backend>(means: Means<B>, size: usize) -> Means<B> {
    let means = means.into_iter();
    means
        .map(|mean| mean.narrow(1, 0, size).narrow(2, 0, size))
        .collect()
}
