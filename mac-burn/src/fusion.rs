//! Backends that fuse operations into kernels.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::any::type_name;

/// Whether a backend fuses operations, by its type: `Backend::name` may start the default device.
pub(crate) fn fuses<B>() -> bool {
    type_name::<B>().contains("Fusion<")
}

/// More axes than any tensor that is reshaped outside fusion has.
const MORE_AXES: usize = 6;

/// The tensor in a shape of more axes, by way of one with more axes still.
///
/// A reshape to more axes becomes part of the kernel that reads it, which then finds the place of every element by
/// divisions. One to fewer axes ends a kernel and is none itself, since no element changes its place, unless a row is not followed by the next:
/// on CUDA rows may begin at multiples of 256 bytes. Then they are copied, once, as they are when the last axis is 1.
pub(crate) fn reshape_outside_fusion<B: Backend, const D: usize, const D2: usize>(
    tensor: Tensor<B, D>,
    shape: [usize; D2],
) -> Tensor<B, D2> {
    let mut longer = [1; MORE_AXES];
    longer[..D2].copy_from_slice(&shape);
    tensor.reshape(longer).reshape(shape)
}
