//! The methods that see something: they do what [`Autodiff`]'s do.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_backend::Shape;
use burn_backend::backend::{AutodiffBackend, Backend};
use burn_backend::ops::{ConvOptions, ConvTransposeOptions, FloatTensorOps, ModuleOps};
use burn_backend::tensor::{Device, FloatTensor};

use crate::backend::Inner;

/// A float tensor of `Autodiff`, and so of `Recording`.
type Float<B, C> = FloatTensor<Autodiff<B, C>>;

pub(crate) fn linear<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
) -> Float<B, C> {
    Autodiff::<B, C>::linear(x, weight, bias)
}

pub(crate) fn conv1d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvOptions<1>,
) -> Float<B, C> {
    Autodiff::<B, C>::conv1d(x, weight, bias, options)
}

pub(crate) fn conv2d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvOptions<2>,
) -> Float<B, C> {
    Autodiff::<B, C>::conv2d(x, weight, bias, options)
}

pub(crate) fn conv3d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvOptions<3>,
) -> Float<B, C> {
    Autodiff::<B, C>::conv3d(x, weight, bias, options)
}

pub(crate) fn conv_transpose1d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvTransposeOptions<1>,
) -> Float<B, C> {
    Autodiff::<B, C>::conv_transpose1d(x, weight, bias, options)
}

pub(crate) fn conv_transpose2d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvTransposeOptions<2>,
) -> Float<B, C> {
    Autodiff::<B, C>::conv_transpose2d(x, weight, bias, options)
}

pub(crate) fn conv_transpose3d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvTransposeOptions<3>,
) -> Float<B, C> {
    Autodiff::<B, C>::conv_transpose3d(x, weight, bias, options)
}

pub(crate) fn float_matmul<B: Backend, C: CheckpointStrategy>(
    lhs: Float<B, C>,
    rhs: Float<B, C>,
) -> Float<B, C> {
    Autodiff::<B, C>::float_matmul(lhs, rhs)
}

pub(crate) fn float_transpose<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
) -> Float<B, C> {
    Autodiff::<B, C>::float_transpose(tensor)
}

pub(crate) fn float_swap_dims<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    dim1: usize,
    dim2: usize,
) -> Float<B, C> {
    Autodiff::<B, C>::float_swap_dims(tensor, dim1, dim2)
}

pub(crate) fn float_permute<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    axes: &[usize],
) -> Float<B, C> {
    Autodiff::<B, C>::float_permute(tensor, axes)
}

pub(crate) fn float_reshape<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    shape: Shape,
) -> Float<B, C> {
    Autodiff::<B, C>::float_reshape(tensor, shape)
}

pub(crate) fn float_to_device<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    device: &Device<B>,
) -> Float<B, C> {
    Autodiff::<B, C>::float_to_device(tensor, device)
}

pub(crate) fn float_detach<B: Backend, C: CheckpointStrategy>(tensor: Float<B, C>) -> Float<B, C> {
    Autodiff::<B, C>::float_detach(tensor)
}

pub(crate) fn float_set_require_grad<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    require_grad: bool,
) -> Float<B, C> {
    Autodiff::<B, C>::float_set_require_grad(tensor, require_grad)
}

pub(crate) fn inner<B: Inner, C: CheckpointStrategy>(tensor: Float<B, C>) -> FloatTensor<B> {
    Autodiff::<B, C>::inner(tensor)
}

pub(crate) fn from_inner<B: Inner, C: CheckpointStrategy>(tensor: FloatTensor<B>) -> Float<B, C> {
    Autodiff::<B, C>::from_inner(tensor)
}
