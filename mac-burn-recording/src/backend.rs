//! The decorator, and the traits of a backend that are not operations.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_backend::backend::{AutodiffBackend, Backend, BackendTypes};
#[cfg(feature = "distributed")]
use burn_backend::distributed::{DistributedParamId, DistributedParams};
use burn_backend::tensor::{BoolTensor, Device, FloatTensor, IntTensor, QuantizedTensor};
use burn_backend::{DType, DTypeUsageSet, ExecutionError, TensorData};
use std::fmt::{Debug, Formatter, Result as Formatted};
use std::marker::PhantomData;

use crate::seen;

// With the feature, Burn differentiates only what can be distributed, so that is what `Autodiff` can be around.
#[cfg(not(feature = "distributed"))]
pub(crate) use burn_backend::backend::Backend as Inner;
#[cfg(feature = "distributed")]
pub(crate) use burn_backend::distributed::DistributedBackend as Inner;

/// The backend `A`, which is an [`Autodiff`], and what its layers see: `Recording<Autodiff<Flex>>`.
///
/// It has the tensors of `A`, its inner backend and its results, bit for bit.
pub struct Recording<A: Differentiating>(PhantomData<A>);

/// A backend that [`Recording`] can decorate: `Autodiff<B, C>` of any `B` and `C`.
///
/// It has to be [`Autodiff`], since parameters are recognised as leaves of its graph.
#[diagnostic::on_unimplemented(
    message = "`Recording<{Self}>` is not a backend, since `{Self}` is not an `Autodiff`",
    label = "not an `Autodiff`",
    note = "`Recording` stands outside of `Autodiff`: `Recording<Autodiff<Flex>>`"
)]
pub trait Differentiating: sealed::Sealed {}

impl<B: Backend, C: CheckpointStrategy> Differentiating for Autodiff<B, C> {}

mod sealed {
    use super::{Autodiff, Backend, CheckpointStrategy};

    pub trait Sealed {}

    impl<B: Backend, C: CheckpointStrategy> Sealed for Autodiff<B, C> {}
}

// Not derived, which would ask for them of the parameter.
impl<A: Differentiating> Clone for Recording<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Differentiating> Copy for Recording<A> {}

impl<A: Differentiating> Default for Recording<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<A: Differentiating> Debug for Recording<A> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Formatted {
        formatter.write_str("Recording")
    }
}

impl<B: Backend, C: CheckpointStrategy> BackendTypes for Recording<Autodiff<B, C>> {
    type Device = Device<B>;

    type FloatTensorPrimitive = FloatTensor<Autodiff<B, C>>;
    type FloatElem = B::FloatElem;

    type IntTensorPrimitive = IntTensor<B>;
    type IntElem = B::IntElem;

    type BoolTensorPrimitive = BoolTensor<B>;
    type BoolElem = B::BoolElem;

    type QuantizedTensorPrimitive = QuantizedTensor<B>;
}

impl<B: Backend, C: CheckpointStrategy> Backend for Recording<Autodiff<B, C>> {
    fn ad_enabled(device: &Self::Device) -> bool {
        Autodiff::<B, C>::ad_enabled(device)
    }

    fn memory_persistent_allocations<
        Output: Send,
        Input: Send,
        Func: Fn(Input) -> Output + Send,
    >(
        device: &Self::Device,
        input: Input,
        func: Func,
    ) -> Output {
        Autodiff::<B, C>::memory_persistent_allocations(device, input, func)
    }

    fn memory_cleanup(device: &Self::Device) {
        Autodiff::<B, C>::memory_cleanup(device);
    }

    /// The name of `A`: callers use it to tell which kernels run, and a decorator has none of its own.
    fn name(device: &Self::Device) -> String {
        Autodiff::<B, C>::name(device)
    }

    fn seed(device: &Self::Device, seed: u64) {
        Autodiff::<B, C>::seed(device, seed);
    }

    fn sync(device: &Self::Device) -> Result<(), ExecutionError> {
        Autodiff::<B, C>::sync(device)
    }

    fn staging<'a, Iter>(data: Iter, device: &Self::Device)
    where
        Iter: Iterator<Item = &'a mut TensorData>,
    {
        Autodiff::<B, C>::staging(data, device);
    }

    fn supports_dtype(device: &Self::Device, dtype: DType) -> bool {
        Autodiff::<B, C>::supports_dtype(device, dtype)
    }

    fn dtype_usage(device: &Self::Device, dtype: DType) -> DTypeUsageSet {
        Autodiff::<B, C>::dtype_usage(device, dtype)
    }

    fn device_count(type_id: u16) -> usize {
        Autodiff::<B, C>::device_count(type_id)
    }
}

impl<B: Inner, C: CheckpointStrategy> AutodiffBackend for Recording<Autodiff<B, C>> {
    type InnerBackend = B;
    type Gradients = <Autodiff<B, C> as AutodiffBackend>::Gradients;

    fn backward(tensor: FloatTensor<Self>) -> Self::Gradients {
        seen::backward::<B, C>(tensor)
    }

    fn grad(tensor: &FloatTensor<Self>, grads: &Self::Gradients) -> Option<FloatTensor<B>> {
        Autodiff::<B, C>::grad(tensor, grads)
    }

    fn grad_remove(
        tensor: &FloatTensor<Self>,
        grads: &mut Self::Gradients,
    ) -> Option<FloatTensor<B>> {
        Autodiff::<B, C>::grad_remove(tensor, grads)
    }

    fn grad_replace(tensor: &FloatTensor<Self>, grads: &mut Self::Gradients, grad: FloatTensor<B>) {
        Autodiff::<B, C>::grad_replace(tensor, grads, grad);
    }

    fn inner(tensor: FloatTensor<Self>) -> FloatTensor<B> {
        seen::inner::<B, C>(tensor)
    }

    fn int_inner(tensor: IntTensor<Self>) -> IntTensor<B> {
        Autodiff::<B, C>::int_inner(tensor)
    }

    fn bool_inner(tensor: BoolTensor<Self>) -> BoolTensor<B> {
        Autodiff::<B, C>::bool_inner(tensor)
    }

    fn q_inner(tensor: QuantizedTensor<Self>) -> QuantizedTensor<B> {
        Autodiff::<B, C>::q_inner(tensor)
    }

    fn from_inner(tensor: FloatTensor<B>) -> FloatTensor<Self> {
        seen::from_inner::<B, C>(tensor)
    }

    fn int_from_inner(tensor: IntTensor<B>) -> IntTensor<Self> {
        Autodiff::<B, C>::int_from_inner(tensor)
    }

    fn bool_from_inner(tensor: BoolTensor<B>) -> BoolTensor<Self> {
        Autodiff::<B, C>::bool_from_inner(tensor)
    }

    fn q_from_inner(tensor: QuantizedTensor<B>) -> QuantizedTensor<Self> {
        Autodiff::<B, C>::q_from_inner(tensor)
    }

    #[cfg(feature = "distributed")]
    fn set_distributed_params(
        tensor: FloatTensor<Self>,
        param_id: DistributedParamId,
    ) -> FloatTensor<Self> {
        Autodiff::<B, C>::set_distributed_params(tensor, param_id)
    }

    #[cfg(feature = "distributed")]
    fn distributed_params(tensor: &FloatTensor<Self>) -> Option<DistributedParams> {
        Autodiff::<B, C>::distributed_params(tensor)
    }

    #[cfg(feature = "distributed")]
    fn is_distributed(tensor: &FloatTensor<Self>) -> bool {
        Autodiff::<B, C>::is_distributed(tensor)
    }
}
