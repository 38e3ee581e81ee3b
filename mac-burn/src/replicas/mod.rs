//! Data-parallel training: a replica of the model and the optimizer on each of several devices or machines, and a share of each batch.
//!
//! Replicas stay equal if all take the same steps. Gradients alone do not make them equal: MAC preconditions by what its layers have seen, and
//! each replica sees its own share. So two things are reduced over all ranks, always to the same bits:
//!
//! - gradients, by [`Replicas::reduce_gradients`] in each step, unless Burn's `ddp` has reduced them;
//! - the sums that curvatures are made of, by [`Mac`](crate::Mac) in each step that records (every
//!   [`tcov`](crate::MacConfig::tcov)), if it was given the replicas by [`Mac::with_replicas`](crate::Mac::with_replicas).
//!
//! Parameters, momentum and statistics are then the same on all ranks, those of a training with the whole batch but for rounding. So the
//! checkpoint of rank 0 is that of all, but for the running statistics of batch norms, which are each rank's own, as in Burn's `ddp`.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::optim::GradientsParams;
//! use burn::tensor::{Tensor, backend::Backend};
//! use mac_burn::replicas::{ReplicaError, Replicas, TcpAllReduce};
//! use mac_burn::{MacConfig, MacError, MacLinear};
//! use std::{sync::Arc, thread, time::Duration};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//!
//! /// The training of a rank; in a run of many machines it is the whole of its process.
//! fn train(connection: TcpAllReduce) -> Result<Vec<f32>, MacError> {
//!     let device = Default::default();
//!     let rank = connection.rank() as f32;
//!     let replicas = Replicas::new(Arc::new(connection));
//!     // All start from the same values.
//!     let ones = burn::nn::Initializer::Ones;
//!     let mut model: MacLinear<B> = LinearConfig::new(3, 1).with_initializer(ones).init(&device).into();
//!     let mut optim = MacConfig::new().init().with_replicas(replicas.clone());
//!     for _ in 0..3 {
//!         // The rank's share of the batch.
//!         let inputs = Tensor::<B, 2>::full([2, 3], rank + 1.0, &device);
//!         let loss = model.forward(inputs).square().mean();
//!         let grads = GradientsParams::from_grads(loss.backward(), &model);
//!         let grads = replicas.reduce_gradients(&model, grads)?;
//!         model = optim.try_step(0.1, model, grads)?;
//!     }
//!     Ok(model.weight.val().into_data().iter().collect())
//! }
//!
//! # fn main() -> Result<(), MacError> {
//! let ranks = TcpAllReduce::in_process(2, Duration::from_secs(60))?;
//! let threads: Vec<_> = ranks.into_iter().map(|rank| thread::spawn(|| train(rank))).collect();
//! let weights: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
//! assert_eq!(weights[0], weights[1]);
//! # weights[0].as_ref().map_err(Clone::clone)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The whole batch
//!
//! With the loss of each rank a mean over its share, and shares of the same size, the mean of the ranks' gradients is the whole batch's
//! ([`GradientReduction::Mean`]). Where shares differ, as in a last batch, divide each rank's sum of losses by the samples of the *whole* batch,
//! and add up: [`GradientReduction::Sum`]. The statistics follow: sums over inputs add up, whatever the losses are; those over the gradients
//! at outputs, which K-FAC, Eva and SMAC are made of, are brought to the scale of the whole batch's loss.
//!
//! The values of attention are the exception: their mean is a product of two averages, of probabilities and of values, and each rank has
//! its own. So the sum of shares is that of micro-batches, and not that of the whole batch, see
//! [`MacMultiHeadAttention`](crate::MacMultiHeadAttention). It is the same on all ranks.
//!
//! A layer may be used by some ranks only: the others count it with no rows and a gradient of 0. Clipping, the guard and the KL clip look at reduced
//! gradients, and so do the same on all ranks.
//!
//! # The transport
//!
//! [`TcpAllReduce`] connects processes on many machines, or threads, over TCP: rank 0 listens, adds up what the others send in the order of the ranks,
//! so that sums are the same bits among ranks and from run to run, and sends the sum back. Each wait has a time limit, and an error names the
//! rank that it is due to. Another transport implements [`AllReduce`]: with the feature `distributed`, `DeviceAllReduce` calls Burn's collective of a
//! machine's GPUs, and serves `Learner` with a `ddp` strategy. Burn's `burn-collective` 0.21 cannot be used: it has no limits of time, and its
//! second all-reduce between nodes does not return.
//!
//! # What is sent
//!
//! In a step, a rank but the first sends a vector of 4 bytes a number (8 where a parameter is `f64`) and receives as much; rank 0 sends and receives one for each of the
//! others. Gradients are a number for each trained parameter. A step that records sends, for each layer,
//!
//! | curvature | numbers |
//! |---|---|
//! | MAC | `means · (2 · size + 2)`: `Σ x`, `Σ x²`, what the bias saw and the count |
//! | SMAC | that, and `outputs + 1` |
//! | Eva | that, and `outputs + 1` for each block of outputs |
//! | FOOF | `groups · (size + 1)² + 1` for each part of the inputs |
//! | K-FAC | that, and `groups · (outputs / groups)² + 1` for each block of outputs |
//!
//! and for an embedding with a damping `2 · tokens + 2`; each statistic has 6 numbers more, with its counts, and each gradient a mark. A vector has
//! 2 numbers more for each rank, by which ranks are compared, and 18 bytes before it. A `Linear` of 512 inputs and outputs has 262 656 numbers of
//! gradients, and 1026 of MAC's statistics, by `tcov = 5` in every fifth step.
//!
//! Which layers a step is of must be known to all ranks. Layers of this crate are known from the start; a [`Recorder`](crate::Recorder) in a layer of
//! your own knows its layer by its first pass. So in the first step a number for each recorder is sent before the statistics; with such recorders it
//! is sent in each step that records, and in all steps until all ranks know all layers. A layer that some rank does not know yet is
//! not preconditioned, and keeps its statistics until all do.

mod description;
#[cfg(feature = "distributed")]
mod devices;
mod error;
mod flat;
mod gradients;
mod hash;
mod statistics;
mod tcp;

pub use description::RunDescription;
#[cfg(feature = "distributed")]
pub use devices::DeviceAllReduce;
pub use error::ReplicaError;
pub(crate) use statistics::LayerShare;
pub use tcp::{TcpAllReduce, TcpAllReduceConfig};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::fmt::Debug;
use std::sync::Arc;

/// A sum over all ranks of a training in replicas, on the inner backend `B`.
///
/// [`TcpAllReduce`] is one for every backend; with the feature `distributed` there is one that calls Burn's own, `DeviceAllReduce`.
pub trait AllReduce<B: Backend>: Debug + Send + Sync {
    /// The number of the rank that trains on this device, from 0. An implementation that serves one rank does not look at the
    /// device.
    fn rank(&self, device: &B::Device) -> usize;

    /// The number of ranks.
    fn world_size(&self) -> usize;

    /// The sum of what all ranks give. All ranks call it with the same number of values, of the same float type. The sum must have the same bits on
    /// all ranks, and the type and device of the values, and be exact for whole numbers below 2²⁴ in `f32`.
    ///
    /// # Shapes
    ///
    /// - values: `[n]`
    /// - output: `[n]`
    ///
    /// # Errors
    ///
    /// If a rank is lost or differs. It must return within a limit of time. Once it has failed, every later
    /// call must fail too.
    fn sum(&self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>, ReplicaError>;
}

/// The reduction that makes the whole batch's gradients of those of the ranks, which depends on their losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradientReduction {
    /// The mean: the loss of each rank is a mean over its share, and all shares have the same size.
    #[default]
    Mean,
    /// The sum: the losses of all ranks add up to that of the whole batch.
    Sum,
}

/// The ranks of a training in replicas. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Replicas<B: Backend> {
    all_reduce: Arc<dyn AllReduce<B>>,
    reduction: GradientReduction,
}

impl<B: Backend> Replicas<B> {
    /// With the mean of gradients.
    pub fn new(all_reduce: Arc<dyn AllReduce<B>>) -> Self {
        Self {
            all_reduce,
            reduction: GradientReduction::default(),
        }
    }

    /// Sets the reduction of gradients, whoever does it. Clones that were made before keep theirs, so set it before an optimizer has one. Default: the mean
    pub fn with_reduction(mut self, reduction: GradientReduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The reduction of gradients.
    pub fn reduction(&self) -> GradientReduction {
        self.reduction
    }

    /// The number of the rank that trains on this device, from 0.
    pub fn rank(&self, device: &B::Device) -> usize {
        self.all_reduce.rank(device)
    }

    /// The number of ranks.
    pub fn world_size(&self) -> usize {
        self.all_reduce.world_size()
    }

    /// The sum of what all ranks give, see [`AllReduce::sum`]; for what else a run has to agree on, such as its loss.
    ///
    /// # Errors
    ///
    /// If a rank is lost or differs.
    pub fn sum(&self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>, ReplicaError> {
        self.all_reduce.sum(values)
    }
}
