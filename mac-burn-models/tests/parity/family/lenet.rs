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
    subject::{Named, Network, Subject},
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

/// The authors' names of the functions that their networks are trained with; their list has more.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Activation {
    Relu,
    Tanh,
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

/// A network of a configuration.
pub(crate) fn lenet<B: AutodiffBackend>(config: &LeNetConfig) -> Box<dyn Subject<B>> {
    Box::new(Named::new(
        config.init::<B>(&Default::default()),
        authors_name,
    ))
}

fn configuration(construction: &Construction) -> Result<LeNetConfig, ParityError> {
    let arguments: Arguments = construction.arguments()?;

    Ok(LeNetConfig::mac_lenet5()
        .with_image_size([arguments.image_size; 2])
        .with_image_channels(arguments.in_channels)
        .with_num_classes(arguments.num_classes)
        .with_activation(arguments.act_fn.function())
        .with_pooling(match arguments.pool_fn {
            Pooling::Max => LeNetPooling::Max,
            Pooling::Avg => LeNetPooling::Average,
        }))
}

impl Activation {
    fn function(self) -> LeNetActivation {
        match self {
            Self::Relu => LeNetActivation::Relu,
            Self::Tanh => LeNetActivation::Tanh,
        }
    }
}

/// Breaks when a name of the authors' list is another function's, or that of a function which the network does not have is taken.
#[test]
fn functions_have_the_names_of_the_authors() {
    let activation = |name: &str| {
        let arguments = serde_json::json!({ "act_fn": name });
        let arguments = serde_json::from_value(arguments).expect("arguments are an object");
        let source = "eigen_analyzer/networks/lenet.py:LeNet5";
        let config = configuration(&Construction::new(source, arguments)).ok()?;
        Some(config.activation)
    };
    for (name, expected) in [
        ("tanh", LeNetActivation::Tanh),
        ("relu", LeNetActivation::Relu),
    ] {
        assert_eq!(activation(name), Some(expected), "{name}");
    }
    for refused in ["sigmoid", "glu"] {
        assert_eq!(activation(refused), None);
    }
}
