//! The input of a network, images or tokens, and the targets of the loss.

use burn::tensor::{Int, Shape, Tensor, TensorData, backend::Backend};

use crate::{
    error::ParityError,
    fill::check_sum,
    fixture::{Fixture, Input},
    wave::Wave,
};

/// The input of a fixture on the host, from which it goes to any backend.
#[derive(Debug)]
pub(crate) struct Batch {
    input: TensorData,
    targets: TensorData,
}

/// The input of a network on a backend.
#[derive(Clone, Debug)]
pub(crate) enum Signal<B: Backend> {
    /// `[batch, channels, height, width]`
    Images(Tensor<B, 4>),
    /// `[batch, tokens]`
    Tokens(Tensor<B, 2, Int>),
}

impl<B: Backend> Signal<B> {
    /// Images, for a network that takes these.
    pub(crate) fn images(self) -> Result<Tensor<B, 4>, ParityError> {
        match self {
            Self::Images(images) => Ok(images),
            Self::Tokens(_) => Err(ParityError::Input(2)),
        }
    }

    /// Tokens, for a network that takes these.
    pub(crate) fn tokens(self) -> Result<Tensor<B, 2, Int>, ParityError> {
        match self {
            Self::Tokens(tokens) => Ok(tokens),
            Self::Images(_) => Err(ParityError::Input(4)),
        }
    }
}

impl Batch {
    /// Makes the input by the fixture's rule.
    pub(crate) fn of(fixture: &Fixture) -> Result<Self, ParityError> {
        let input = match &fixture.input {
            Input::Wave { name, shape, sum } => {
                let shape = Shape::from(shape.clone());
                let values = Wave::of(name).values(shape.num_elements());
                check_sum(name, *sum, &values)?;
                TensorData::new(values, shape)
            }
            Input::Tokens { shape, tokens } => {
                TensorData::new(tokens.clone(), Shape::from(shape.clone()))
            }
        };
        let targets = &fixture.targets.values;

        Ok(Self {
            input,
            targets: TensorData::new(targets.clone(), [targets.len()]),
        })
    }

    /// The input on a backend.
    pub(crate) fn signal<B: Backend>(&self, device: &B::Device) -> Result<Signal<B>, ParityError> {
        let input = self.input.clone();
        match input.shape.num_dims() {
            4 => Ok(Signal::Images(Tensor::from_data(input, device))),
            2 => Ok(Signal::Tokens(Tensor::from_data(input, device))),
            dimensions => Err(ParityError::Input(dimensions)),
        }
    }

    /// How many values a channel has in the batch where `left` of the rows, and of the columns, are left.
    pub(crate) fn values_per_channel(&self, left: impl Fn(usize) -> usize) -> usize {
        let shape = self.input.shape.iter().enumerate();

        shape
            .map(|(dim, size)| match dim {
                0 => *size,
                1 => 1,
                _ => left(*size),
            })
            .product()
    }

    /// The targets on a backend, `[rows]`.
    pub(crate) fn targets<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1, Int> {
        Tensor::from_data(self.targets.clone(), device)
    }
}
