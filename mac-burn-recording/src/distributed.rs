//! Burn's training over several devices, whose communication is that of `A`.

use crate::backend::Recording;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_backend::DeviceId;
use burn_backend::distributed::{
    CollectiveTensor, DistributedBackend, DistributedConfig, DistributedParams, ReduceOperation,
    TensorRef,
};
use burn_backend::tensor::FloatTensor;

impl<B: DistributedBackend, C: CheckpointStrategy> DistributedBackend
    for Recording<Autodiff<B, C>>
{
    fn start_communication_server(devices: &[Self::Device], config: DistributedConfig) {
        Autodiff::<B, C>::start_communication_server(devices, config);
    }

    fn close_communication_server(device: &Self::Device) {
        Autodiff::<B, C>::close_communication_server(device);
    }

    fn register_sync_parameters(device: &Self::Device, distributed_params: Vec<DistributedParams>) {
        Autodiff::<B, C>::register_sync_parameters(device, distributed_params);
    }

    fn submit_sync_collective(device: &Self::Device) {
        Autodiff::<B, C>::submit_sync_collective(device);
    }

    fn submit_gradient_sync(tensor: TensorRef<Self>, distributed_params: DistributedParams) {
        Autodiff::<B, C>::submit_gradient_sync(TensorRef(tensor.0), distributed_params);
    }

    /// As that of `A`, but complete when it returns: only unsafe code could take a reduction that is under way out of its wrapper.
    fn all_reduce(
        tensor: FloatTensor<Self>,
        op: ReduceOperation,
        device_ids: Vec<DeviceId>,
    ) -> CollectiveTensor<Self> {
        let reduced = Autodiff::<B, C>::all_reduce(tensor, op, device_ids);
        CollectiveTensor::new(reduced.resolve())
    }

    fn sync_collective(device: &Self::Device) {
        Autodiff::<B, C>::sync_collective(device);
    }
}
