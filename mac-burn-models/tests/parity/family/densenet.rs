//! DenseNet: the authors' for CIFAR, and timm's and torchvision's.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::densenet::{DenseNet, DenseNetConfig, authors_name, timm_name};
use serde::Deserialize;
use serde_json::Value;

use super::{Built, cifar, is_another};
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Named, Network, Subject},
};

/// The arguments of the authors' callables, and of their class `DenseNet`, of which one block is known.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuthorsArguments {
    #[serde(rename = "block")]
    _block: Option<Block>,
    nblocks: Option<Vec<usize>>,
    growth_rate: Option<usize>,
    reduction: Option<f64>,
    num_classes: Option<usize>,
}

#[derive(Debug, Deserialize)]
enum Block {
    Bottleneck,
}

/// The arguments of timm's and of torchvision's `DenseNet`. Those whose names begin with an underscore change no number: whether
/// values are computed twice to save memory, and where poolings are of another kind that is not covered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    growth_rate: Option<usize>,
    block_config: Option<Vec<usize>>,
    num_init_features: Option<usize>,
    bn_size: Option<usize>,
    num_classes: Option<usize>,
    in_chans: Option<usize>,
    stem_type: String,
    aa_layer: Value,
    global_pool: Option<String>,
    act_layer: Option<String>,
    norm_layer: Option<String>,
    drop_rate: f64,
    proj_drop_rate: f64,
    #[serde(rename = "memory_efficient")]
    _memory_efficient: bool,
    #[serde(rename = "aa_stem_only")]
    _aa_stem_only: bool,
}

impl<B: Backend> Network<B> for DenseNet<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }

    fn size_at_norm(&self, norm: &str, size: usize) -> usize {
        if norm == "features.norm0" {
            return size.div_ceil(2);
        }
        let size = match self.stem.pool {
            Some(_) => size.div_ceil(4),
            None => size,
        };

        // Each transition halves what there is, and rounds down.
        size >> transitions_before(norm).unwrap_or(self.transitions.len())
    }
}

/// How many transitions come before a norm of a block or a transition, whose names have its number.
fn transitions_before(norm: &str) -> Option<usize> {
    let norm = norm.strip_prefix("features.").unwrap_or(norm);
    let parts = ["denseblock", "dense", "transition", "trans"];
    let rest = parts.iter().find_map(|part| norm.strip_prefix(part))?;
    let (number, _) = rest.split_once('.')?;

    Some(number.parse::<usize>().ok()? - 1)
}

/// A network of this family, if the construction is one.
pub(super) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    let (source, callable) = construction.source();
    if let "timm" | "torchvision" = source {
        let Some(config) = package_model(callable) else {
            return Ok(None);
        };
        let config = configured(config, construction)?;
        return Ok(Some(Box::new(Named::new(
            config.init::<B>(device),
            timm_name,
        ))));
    }
    let Some((classes, "densenet.py")) = cifar(source) else {
        return Ok(None);
    };
    let Some(config) = authors_model(callable, classes) else {
        return Ok(None);
    };
    let config = configured_by_authors(config, construction)?;

    Ok(Some(Box::new(Named::new(
        config.init::<B>(device),
        authors_name,
    ))))
}

/// A network of a configuration, with the names that the authors give it.
pub(crate) fn densenet<B: AutodiffBackend>(config: &DenseNetConfig) -> Box<dyn Subject<B>> {
    Box::new(Named::new(
        config.init::<B>(&Default::default()),
        authors_name,
    ))
}

/// The authors' networks for CIFAR; of the class `DenseNet` the blocks are an argument, and the growth is 12 unless given.
fn authors_model(callable: &str, classes: usize) -> Option<DenseNetConfig> {
    let constructor = match callable {
        "densenet_cifar" | "DenseNet" => DenseNetConfig::thin_cifar,
        "DenseNet121" => DenseNetConfig::densenet121_cifar,
        "DenseNet169" => DenseNetConfig::densenet169_cifar,
        "DenseNet201" => DenseNetConfig::densenet201_cifar,
        "DenseNet161" => DenseNetConfig::densenet161_cifar,
        _ => return None,
    };

    Some(constructor(classes))
}

/// The networks of timm and of torchvision, and their class, whose defaults are those of the smallest.
fn package_model(name: &str) -> Option<DenseNetConfig> {
    Some(match name {
        "densenet121" | "DenseNet" => DenseNetConfig::densenet121(),
        "densenet169" => DenseNetConfig::densenet169(),
        "densenet201" => DenseNetConfig::densenet201(),
        "densenet161" => DenseNetConfig::densenet161(),
        _ => return None,
    })
}

fn configured_by_authors(
    mut config: DenseNetConfig,
    construction: &Construction,
) -> Result<DenseNetConfig, ParityError> {
    let names = ["block", "nblocks"];
    let construction = construction.clone().with_signature(&names)?;
    let arguments: AuthorsArguments = construction.arguments()?;
    let blocks = arguments.nblocks.unwrap_or_else(|| config.blocks.clone());
    if blocks.len() != config.blocks.len() {
        return Err(construction.unsupported("has four blocks"));
    }
    config.blocks = blocks;
    config.growth = arguments.growth_rate.unwrap_or(config.growth);
    config.compression = arguments.reduction.unwrap_or(config.compression);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);

    Ok(config)
}

/// The configuration with a construction's arguments in place of the defaults.
fn configured(
    mut config: DenseNetConfig,
    construction: &Construction,
) -> Result<DenseNetConfig, ParityError> {
    let arguments: Arguments = construction.arguments()?;
    if let Some(reason) = arguments.not_covered() {
        return Err(construction.unsupported(reason));
    }
    construction.refuse_dropping(&[arguments.drop_rate, arguments.proj_drop_rate])?;
    // torchvision has a number of channels of the stem for each name, and timm twice the growth.
    let by_name = (construction.source().0 == "torchvision").then_some(2 * config.growth);
    config.stem_channels = arguments.num_init_features.or(by_name);
    config.growth = arguments.growth_rate.unwrap_or(config.growth);
    config.blocks = arguments.block_config.unwrap_or(config.blocks);
    config.bottleneck = arguments.bn_size.unwrap_or(config.bottleneck);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.image_channels = arguments.in_chans.unwrap_or(config.image_channels);

    Ok(config)
}

impl Arguments {
    /// What a network has that is none of those here, or that cannot be compared.
    fn not_covered(&self) -> Option<&'static str> {
        let of_others = [
            (!self.stem_type.is_empty(), "has another stem"),
            (
                is_another(&self.global_pool, "avg") || !self.aa_layer.is_null(),
                "has another pooling",
            ),
            (
                is_another(&self.act_layer, "relu"),
                "has another activation",
            ),
            (
                is_another(&self.norm_layer, "batchnorm2d"),
                "has another norm",
            ),
            (self.num_classes == Some(0), "has no head"),
        ];
        let found = of_others.into_iter().find(|(is_so, _)| *is_so);

        found.map(|(_, reason)| reason)
    }
}
