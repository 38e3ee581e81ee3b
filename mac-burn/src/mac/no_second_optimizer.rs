use burn::optim::{LearningRate, SimpleOptimizer};
use burn::record::{PrecisionSettings, Record};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

/// The second optimizer of a [`Mac`](crate::Mac) that has none. It has no values, so there is no such
/// optimizer to be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSecondOptimizer {}

/// What is read where a record has the state of some second optimizer: that there is one.
///
/// It reads any state in a format that describes itself, such as that of Burn's
/// `NamedMpkFileRecorder`, so that such a record is refused by a
/// [`MacError`](crate::MacError::RecordWithSecondOptimizer) and not by an error of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NoSecondOptimizerState;

impl<B: Backend> SimpleOptimizer<B> for NoSecondOptimizer {
    type State<const D: usize> = NoSecondOptimizerState;

    fn step<const D: usize>(
        &self,
        _lr: LearningRate,
        _tensor: Tensor<B, D>,
        _grad: Tensor<B, D>,
        _state: Option<NoSecondOptimizerState>,
    ) -> (Tensor<B, D>, Option<NoSecondOptimizerState>) {
        match *self {}
    }

    fn to_device<const D: usize>(
        state: NoSecondOptimizerState,
        _device: &B::Device,
    ) -> NoSecondOptimizerState {
        state
    }
}

impl<B: Backend> Record<B> for NoSecondOptimizerState {
    type Item<S: PrecisionSettings> = Self;

    fn into_item<S: PrecisionSettings>(self) -> Self::Item<S> {
        self
    }

    fn from_item<S: PrecisionSettings>(item: Self::Item<S>, _device: &B::Device) -> Self {
        item
    }
}

impl<'de> Deserialize<'de> for NoSecondOptimizerState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}
