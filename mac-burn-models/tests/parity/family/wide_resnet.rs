//! Wide ResNet, the authors' for CIFAR.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::wide_resnet::{WideResNet, WideResNetConfig, authors_name};
use serde::Deserialize;

use super::{Built, cifar};
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Named, Network, Subject},
};

/// The arguments of the authors' `WideResNet`; in further definitions of it some have other names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    depth: Option<usize>,
    #[serde(alias = "width", alias = "widening_factor")]
    widen_factor: Option<usize>,
    num_classes: Option<usize>,
    #[serde(alias = "dropRate", alias = "drop_rate", alias = "dropout")]
    dropout_rate: f64,
}

impl<B: Backend> Network<B> for WideResNet<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }

    fn size_at_norm(&self, norm: &str, size: usize) -> usize {
        let halvings = match norm {
            "block2.layer.0.bn1" => 0,
            // The first norm of a group comes before the stride.
            "block3.layer.0.bn1" => 1,
            _ if norm.starts_with("block1.") => 0,
            _ if norm.starts_with("block2.") => 1,
            _ => 2,
        };

        size.div_ceil(1 << halvings)
    }
}

/// A network of this family, if the construction is one.
pub(super) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    let (path, callable) = construction.source();
    let Some((classes, "wide_resnet.py")) = cifar(path) else {
        return Ok(None);
    };
    let config = match callable {
        "WideResNet" => None,
        name => match sizes(name) {
            Some((depth, width)) => Some(WideResNetConfig::new(depth, width)),
            None => return Ok(None),
        },
    };
    let config = configured(config, classes, construction)?;

    Ok(Some(Box::new(Named::new(
        config.init::<B>(device),
        authors_name,
    ))))
}

/// A network of a configuration.
pub(crate) fn wide_resnet<B: AutodiffBackend>(config: &WideResNetConfig) -> Box<dyn Subject<B>> {
    Box::new(Named::new(
        config.init::<B>(&Default::default()),
        authors_name,
    ))
}

/// Depth and width of a name like `wrn_28_10`.
fn sizes(name: &str) -> Option<(usize, usize)> {
    let (depth, width) = name.strip_prefix("wrn_")?.split_once('_')?;

    Some((depth.parse().ok()?, width.parse().ok()?))
}

fn configured(
    config: Option<WideResNetConfig>,
    classes: usize,
    construction: &Construction,
) -> Result<WideResNetConfig, ParityError> {
    let construction = construction.clone().with_signature(&["depth"])?;
    let arguments: Arguments = construction.arguments()?;
    let depth = arguments.depth.or(config.as_ref().map(|it| it.depth));
    let depth = depth.ok_or_else(|| construction.unsupported("needs a depth"))?;
    let width = arguments.widen_factor.or(config.map(|it| it.width));
    if depth < 10 || depth % 6 != 4 {
        return Err(construction.unsupported("has a depth that is not 6 n + 4"));
    }
    construction.refuse_dropping(&[arguments.dropout_rate])?;

    Ok(WideResNetConfig::new(depth, width.unwrap_or(1))
        .with_num_classes(arguments.num_classes.unwrap_or(classes)))
}
