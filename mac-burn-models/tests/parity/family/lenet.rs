//! LeNet-5 as the authors study it.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::lenet::{LeNet, LeNetActivation, LeNetConfig, LeNetPooling, authors_name};
use serde::Deserialize;

use super::Built;
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Named, Network},
};

/// The arguments of `LeNet5`, with its defaults.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    in_channels: usize,
    num_classes: usize,
    image_size: usize,
    act_fn: Activation,
    pool_fn: Pooling,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Activation {
    Relu,
    Tanh,
    Sigmoid,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    Max,
    Avg,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            in_channels: 1,
            num_classes: 10,
            image_size: 32,
            act_fn: Activation::Tanh,
            pool_fn: Pooling::Max,
        }
    }
}

impl<B: Backend> Network<B> for LeNet<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }
}

/// A network of this family, if the construction is one.
pub(super) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    match construction.source() {
        ("eigen_analyzer/networks/lenet.py", "LeNet5") => {
            let config = configuration(construction)?;
            let network = Named::new(config.init::<B>(device), authors_name);
            Ok(Some(Box::new(network)))
        }
        _ => Ok(None),
    }
}

fn configuration(construction: &Construction) -> Result<LeNetConfig, ParityError> {
    let arguments: Arguments = construction.arguments()?;

    Ok(LeNetConfig::mac_lenet5()
        .with_image_size([arguments.image_size; 2])
        .with_image_channels(arguments.in_channels)
        .with_num_classes(arguments.num_classes)
        .with_activation(match arguments.act_fn {
            Activation::Relu => LeNetActivation::Relu,
            Activation::Tanh => LeNetActivation::Tanh,
            Activation::Sigmoid => LeNetActivation::Sigmoid,
        })
        .with_pooling(match arguments.pool_fn {
            Pooling::Max => LeNetPooling::Max,
            Pooling::Avg => LeNetPooling::Average,
        }))
}
