use super::{AllReduce, ReplicaError};
use burn::tensor::backend::distributed::{DistributedBackend, ReduceOperation};
use burn::tensor::backend::{Backend, DeviceOps};
use burn::tensor::{Tensor, TensorPrimitive};

/// The devices of one machine, each of which is a rank, over the collective of Burn's own that `ddp` reduces gradients by: on CUDA NCCL.
///
/// An optimizer with these replicas may be handed to Burn's `Learner` with a `ddp` strategy, which clones it for each device: the rank is told by
/// the device of the parameters. Burn reduces the gradients then: set the [reduction](super::Replicas::with_reduction) to that of its
/// `DistributedConfig`. An error in a step of `Learner` is a panic with its text.
///
/// It has no limit of time: if the thread of a device ends, the others wait, as they do for gradients. It is checked to compile, and was not
/// run, since it takes two GPUs.
#[derive(Debug, Clone)]
pub struct DeviceAllReduce<B: Backend> {
    devices: Vec<B::Device>,
}

impl<B: DistributedBackend> DeviceAllReduce<B> {
    /// With the devices of the `ddp` strategy, in any order.
    ///
    /// # Errors
    ///
    /// If there is none, or one twice.
    pub fn new(mut devices: Vec<B::Device>) -> Result<Self, ReplicaError> {
        devices.sort_by_key(|device| device.id());
        let twice = devices.windows(2).any(|pair| pair[0].id() == pair[1].id());
        if devices.is_empty() || twice {
            return Err(ReplicaError::Invalid {
                field: "devices",
                value: format!("{devices:?}"),
                allowed: "at least one, and each once".to_string(),
            });
        }
        Ok(Self { devices })
    }
}

impl<B: DistributedBackend> AllReduce<B> for DeviceAllReduce<B> {
    /// The position of the device among those of the training; as many as there are for another.
    fn rank(&self, device: &B::Device) -> usize {
        let mut devices = self.devices.iter();
        let position = devices.position(|known| known.id() == device.id());
        position.unwrap_or(self.devices.len())
    }

    fn world_size(&self) -> usize {
        self.devices.len()
    }

    fn sum(&self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>, ReplicaError> {
        let device = values.device();
        let rank = self.rank(&device);
        if rank == self.devices.len() {
            return Err(ReplicaError::Failed {
                rank,
                reason: format!("{device:?} is none of {:?}", self.devices),
            });
        }
        let ids = self.devices.iter().map(|device| device.id()).collect();
        let values = values.into_primitive().tensor();
        let summed = B::all_reduce(values, ReduceOperation::Sum, ids).resolve();
        Ok(Tensor::from_primitive(TensorPrimitive::Float(summed)))
    }
}
