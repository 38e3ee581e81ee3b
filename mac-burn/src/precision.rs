//! Float types: statistics and steps are computed in `f32` or wider, and products with means not in less than that.

use crate::fusion::reshape_outside_fusion;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use std::any::type_name;

/// `f32` for half precision, and for types that may be computed in it; wider types stay as they are.
pub(crate) fn wider_of_f32(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 | DType::Flex32 => DType::F32,
        wider => wider,
    }
}

/// The tensor in [that type](wider_of_f32).
pub(crate) fn at_least_f32<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    let dtype = wider_of_f32(tensor.dtype());
    as_dtype(tensor, dtype)
}

/// Casts to `dtype`, or returns the tensor itself if it has that type.
pub(crate) fn as_dtype<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    dtype: DType,
) -> Tensor<B, D> {
    if tensor.dtype() == dtype {
        tensor
    } else {
        tensor.cast(dtype)
    }
}

/// The size of a tensor's elements in bytes.
pub(crate) fn bytes<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}

/// Whether a backend may multiply matrices of `f32` in TF32, which has 10 bits of a fraction, by its type: Burn's CUDA may. What
/// `burn::Dispatch` chooses while a program runs is not in its type.
pub(crate) fn multiplies_in_tf32<B>() -> bool {
    type_name::<B>().contains("CudaRuntime")
}

/// The product of matrices in the precision of their type, where `Tensor::matmul` may compute in less.
///
/// There elementwise products are summed instead, so this is for products with few rows, few columns or a small sum.
///
/// # Shapes
///
/// - left: `[.., rows, size]`
/// - right: `[.., size, columns]`
/// - output: `[.., rows, columns]`
pub(crate) fn full_precision_matmul<B: Backend, const D: usize>(
    left: Tensor<B, D>,
    right: Tensor<B, D>,
) -> Tensor<B, D> {
    match multiplies_in_tf32::<B>() {
        true => sum_of_products(left, right, None),
        false => left.matmul(right),
    }
}

/// From so many products on, sums are made in parts first where there are [`FEW`].
const MANY: usize = 1 << 20;

/// Fewer sums than these should leave most of a GPU idle.
const FEW: usize = 1 << 14;

/// A product of matrices as sums of elementwise products, times a scale that broadcasts over it.
///
/// # Shapes
///
/// - left: `[rows, size]` or `[batch, rows, size]`
/// - right: `[size, columns]` or `[batch, size, columns]`
/// - scale: as the output, or 1 along an axis
/// - output: `[rows, columns]` or `[batch, rows, columns]`
///
/// A batch of 1 is one for all. A backend that fuses makes no tensor of all products. Factors are reshaped outside fusion first, as a reshape
/// would end the kernel.
pub(crate) fn sum_of_products<B: Backend, const D: usize>(
    left: Tensor<B, D>,
    right: Tensor<B, D>,
    scale: Option<Tensor<B, D>>,
) -> Tensor<B, D> {
    let (left_dims, right_dims) = (left.dims(), right.dims());
    let (rows, size, columns) = (left_dims[D - 2], left_dims[D - 1], right_dims[D - 1]);
    if columns == 1 {
        let mut row = right_dims;
        row.swap(D - 2, D - 1);
        let right = reshape_outside_fusion(right, row);
        return scaled((left * right).sum_dim(D - 1), scale);
    }
    let batch = |dims: [usize; D]| dims[..D - 2].iter().product::<usize>();
    let batches = batch(left_dims).max(batch(right_dims));
    let sums = batches * rows * columns;
    let parts = match sums < FEW && sums * size >= MANY {
        true => parts_of(size),
        false => 1,
    };
    let length = size / parts;
    let left = reshape_outside_fusion(left, [batch(left_dims), rows, parts, length, 1]);
    let right = reshape_outside_fusion(right, [batch(right_dims), 1, parts, length, columns]);
    let scale = scale.map(|scale| {
        let dims = scale.dims();
        reshape_outside_fusion(scale, [batch(dims), dims[D - 2], 1, 1, dims[D - 1]])
    });
    let sums = scaled((left * right).sum_dim(3), scale);
    let sums = if parts > 1 { sums.sum_dim(2) } else { sums };
    let mut dims = if batch(left_dims) > 1 {
        left_dims
    } else {
        right_dims
    };
    dims[D - 2..].copy_from_slice(&[rows, columns]);
    sums.reshape(dims)
}

fn scaled<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    scale: Option<Tensor<B, D>>,
) -> Tensor<B, D> {
    match scale {
        Some(scale) => tensor * scale,
        // Burn 0.21 makes one kernel of a product, a sum and what follows it, but not of a product and a sum alone.
        None => tensor.mul_scalar(1.0),
    }
}

/// The largest divisor of a size that is at most its square root.
fn parts_of(size: usize) -> usize {
    (1..=size.isqrt())
        .rev()
        .find(|parts| size.is_multiple_of(*parts))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};
    use burn_ndarray::NdArray;

    type B = NdArray<f64>;

    /// Sums in one piece and in parts, of one matrix for each and of one for all, with a scale and without.
    #[test]
    fn sums_of_products_are_the_product_of_matrices() {
        for (left, right) in [
            ([1, 1, 5], [1, 5, 3]),
            ([3, 2, 5], [3, 5, 1]),
            ([3, 2, 5], [1, 5, 1]),
            ([4, 2, 6], [4, 6, 3]),
            ([4, 2, 1], [4, 1, 3]),
            ([1, 2, 6], [4, 6, 3]),
            ([1, 2, 1024], [1, 1024, 512]),
            ([1, 256, 64], [1, 64, 64]),
            ([1, 1, 1031], [1, 1031, 1031]),
        ] {
            let device = Default::default();
            let left = Tensor::<B, 3>::random(left, Distribution::Default, &device);
            let right = Tensor::<B, 3>::random(right, Distribution::Default, &device);
            let [batch, rows, _] = left.dims();
            let scale = Tensor::random([batch, rows, 1], Distribution::Default, &device);
            let expected = left.clone().matmul(right.clone());
            let expected_scaled = (expected.clone() * scale.clone()).into_data();
            let found = sum_of_products(left.clone(), right.clone(), None).into_data();
            let found_scaled = sum_of_products(left, right, Some(scale)).into_data();
            let tolerance = Tolerance::relative(1e-12);
            found.assert_approx_eq::<f64>(&expected.into_data(), tolerance);
            found_scaled.assert_approx_eq::<f64>(&expected_scaled, tolerance);
        }
    }

    #[test]
    fn parts_are_equal_and_as_many_as_fit() {
        assert_eq!(
            [1, 7, 12, 147, 1024, 4608].map(parts_of),
            [1, 1, 3, 7, 32, 64]
        );
    }
}
