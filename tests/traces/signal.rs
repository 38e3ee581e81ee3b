//! What flows from layer to layer: a tensor whose rank depends on the case.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::error::TraceError;

/// The activations between two layers.
#[derive(Clone, Debug)]
pub(crate) enum Signal<B: Backend> {
    /// `[batch, features]`
    Rows(Tensor<B, 2>),
    /// `[batch, tokens, features]`, or `[batch, channels, length]`
    Sequences(Tensor<B, 3>),
    /// `[batch, channels, height, width]`
    Images(Tensor<B, 4>),
}

/// Applies an expression that is generic over the rank, and keeps the rank.
macro_rules! each_rank {
    ($signal:expr, $tensor:ident => $body:expr) => {
        match $signal {
            $crate::signal::Signal::Rows($tensor) => $crate::signal::Signal::Rows($body),
            $crate::signal::Signal::Sequences($tensor) => $crate::signal::Signal::Sequences($body),
            $crate::signal::Signal::Images($tensor) => $crate::signal::Signal::Images($body),
        }
    };
}
pub(crate) use each_rank;

impl<B: Backend> Signal<B> {
    /// A network's input, with the rank of the data.
    pub(crate) fn from_data(data: TensorData, device: &B::Device) -> Result<Self, TraceError> {
        let data = data.convert::<B::FloatElem>();

        match data.shape.len() {
            2 => Ok(Self::Rows(Tensor::from_data(data, device))),
            3 => Ok(Self::Sequences(Tensor::from_data(data, device))),
            4 => Ok(Self::Images(Tensor::from_data(data, device))),
            rank => Err(TraceError::Unsupported(format!(
                "an input of rank {rank}, where 2 to 4 are read"
            ))),
        }
    }

    /// The images that a two-dimensional layer needs.
    ///
    /// # Panics
    ///
    /// If the case's layers do not fit together.
    pub(crate) fn into_images(self) -> Tensor<B, 4> {
        match self {
            Self::Images(images) => images,
            other => panic!("a two-dimensional layer was given {other:?}"),
        }
    }

    /// One row for each sample.
    pub(crate) fn flatten(self) -> Tensor<B, 2> {
        match self {
            Self::Rows(tensor) => tensor,
            Self::Sequences(tensor) => tensor.flatten(1, 2),
            Self::Images(tensor) => tensor.flatten(1, 3),
        }
    }

    /// The logits that a network ends with.
    ///
    /// # Panics
    ///
    /// If the case's network does not end with one row for each sample.
    pub(crate) fn into_logits(self) -> Tensor<B, 2> {
        match self {
            Self::Rows(logits) => logits,
            other => panic!("the network ends with {other:?}, not with one row for each sample"),
        }
    }
}
