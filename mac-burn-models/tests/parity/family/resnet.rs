//! ResNet: timm's, which is torchvision's, and the authors' two for CIFAR.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::{
    ResNet, ResNetConfig,
    resnet::{ResidualBlock, authors_name, timm_name},
};
use serde::Deserialize;

use super::{Built, cifar};
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    layout::Name,
    subject::{Named, Network, Subject},
};

/// The arguments of timm's `ResNet` that are covered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TimmArguments {
    layers: Option<Vec<usize>>,
    num_classes: Option<usize>,
    in_chans: Option<usize>,
    drop_rate: f64,
    drop_path_rate: f64,
    drop_block_rate: f64,
    /// About the values to start with, which a fixture replaces.
    #[serde(rename = "zero_init_last")]
    _zero_init_last: bool,
}

/// The argument of the authors' functions.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuthorsArguments {
    num_classes: Option<usize>,
}

impl<B: Backend> Network<B> for ResNet<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }

    fn norm_stride(&self, norm: &str) -> usize {
        let (of_stem, of_first_stage) = match self.stem.pool {
            Some(_) => (2, 4),
            None => (1, 1),
        };
        let Some((stage, norm)) = stage_and_rest(norm) else {
            return of_stem;
        };
        let bottleneck = matches!(self.stages[0].blocks[0], ResidualBlock::Bottleneck(_));
        match (stage, norm) {
            // Before the 3×3 convolution, which has the stride.
            (2.., "0.bn1") if bottleneck => of_first_stage << (stage - 2),
            _ => of_first_stage << (stage - 1),
        }
    }
}

/// Of a name like `layer2.0.bn1`.
fn stage_and_rest(norm: &str) -> Option<(u32, &str)> {
    let (stage, rest) = norm.strip_prefix("layer")?.split_once('.')?;

    Some((stage.parse().ok()?, rest))
}

/// A network of this family, if the construction is one.
pub(super) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    let (config, name): (_, Name) = match construction.source() {
        ("timm", model) => (timm_config(model, construction)?, timm_name),
        (file, callable) => (authors_config(file, callable, construction)?, authors_name),
    };

    Ok(config.map(|config| named::<B>(&config, name, device)))
}

fn named<B: AutodiffBackend>(
    config: &ResNetConfig,
    name: Name,
    device: &B::Device,
) -> Box<dyn Subject<B>> {
    Box::new(Named::new(config.init::<B>(device), name))
}

fn timm_config(
    model: &str,
    construction: &Construction,
) -> Result<Option<ResNetConfig>, ParityError> {
    let mut config = match model {
        "resnet18" => ResNetConfig::resnet18(),
        "resnet34" => ResNetConfig::resnet34(),
        "resnet50" => ResNetConfig::resnet50(),
        "resnet101" => ResNetConfig::resnet101(),
        "resnet152" => ResNetConfig::resnet152(),
        _ => return Ok(None),
    };
    let arguments: TimmArguments = construction.arguments()?;
    construction.refuse_dropping(&[
        arguments.drop_rate,
        arguments.drop_path_rate,
        arguments.drop_block_rate,
    ])?;
    config.blocks = arguments.layers.unwrap_or(config.blocks);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.image_channels = arguments.in_chans.unwrap_or(config.image_channels);

    Ok(Some(config))
}

fn authors_config(
    file: &str,
    callable: &str,
    construction: &Construction,
) -> Result<Option<ResNetConfig>, ParityError> {
    let Some((num_classes, file)) = cifar(file) else {
        return Ok(None);
    };
    let config = match (file, callable) {
        ("resnet_cifar.py", "resnet20") => ResNetConfig::resnet20,
        ("resnet_cifar.py", "resnet32") => ResNetConfig::resnet32,
        ("resnet_cifar.py", "resnet44") => ResNetConfig::resnet44,
        ("resnet_cifar.py", "resnet56") => ResNetConfig::resnet56,
        ("resnet_cifar.py", "resnet110") => ResNetConfig::resnet110,
        ("resnet.py", "ResNet18") => ResNetConfig::resnet18_cifar,
        ("resnet.py", "ResNet34") => ResNetConfig::resnet34_cifar,
        ("resnet.py", "ResNet50") => ResNetConfig::resnet50_cifar,
        ("resnet.py", "ResNet101") => ResNetConfig::resnet101_cifar,
        ("resnet.py", "ResNet152") => ResNetConfig::resnet152_cifar,
        _ => return Ok(None),
    };
    let arguments: AuthorsArguments = construction.arguments()?;

    Ok(Some(config(arguments.num_classes.unwrap_or(num_classes))))
}
