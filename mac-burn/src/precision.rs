//! Float types: statistics and steps are computed in `f32` or wider.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

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
