//! Float types: statistics and steps are computed in `f32` or wider.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

/// Casts half precision, and types that may be computed in it, to `f32`; wider types stay as they are.
pub(crate) fn at_least_f32<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 | DType::Flex32 => tensor.cast(DType::F32),
        _ => tensor,
    }
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
