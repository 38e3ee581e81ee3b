//! ViT and DeiT: timm's, and the authors' for images of 32×32.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::deit::{Deit, DeitConfig, authors_name, timm_name};
use mac_burn_models::pytorch::Name;
use serde::Deserialize;

use super::{Built, Extent};
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Named, Network, Subject},
};

/// The arguments of timm's `VisionTransformer` and of `DeiT32Tiny` that are covered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    img_size: Option<Extent>,
    patch_size: Option<usize>,
    in_chans: Option<usize>,
    num_classes: Option<usize>,
    embed_dim: Option<usize>,
    depth: Option<usize>,
    num_heads: Option<usize>,
    mlp_ratio: Option<f64>,
    qkv_bias: Option<bool>,
    drop_rate: f64,
    pos_drop_rate: f64,
    proj_drop_rate: f64,
    attn_drop_rate: f64,
    drop_path_rate: f64,
}

impl<B: Backend> Network<B> for Deit<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }
}

/// A network of this family, if the construction is one.
pub(super) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    let (config, name): (_, Name) = match construction.source() {
        ("cifar100/models/deit_cifar.py", "DeiT32Tiny") => {
            (Some(DeitConfig::cifar_tiny(100)), authors_name)
        }
        ("timm", model) => (timm_model(model), timm_name),
        _ => (None, timm_name),
    };
    let Some(config) = config else {
        return Ok(None);
    };
    let config = configured(config, construction)?;

    Ok(Some(Box::new(Named::new(config.init::<B>(device), name))))
}

/// A network of a configuration, with the names that the authors give it.
pub(crate) fn deit<B: AutodiffBackend>(config: &DeitConfig) -> Box<dyn Subject<B>> {
    Box::new(Named::new(
        config.init::<B>(&Default::default()),
        authors_name,
    ))
}

/// The network of a name like `deit_small_patch16_224`.
fn timm_model(name: &str) -> Option<DeitConfig> {
    let parts: Vec<&str> = name.split('_').collect();
    let &["deit" | "vit", size, patch, image] = parts.as_slice() else {
        return None;
    };
    let config = match size {
        "tiny" => DeitConfig::tiny(),
        "small" => DeitConfig::small(),
        "base" => DeitConfig::base(),
        _ => return None,
    };
    let patch = patch.strip_prefix("patch")?.parse().ok()?;
    let image = image.parse().ok()?;

    Some(config.with_patch_size(patch).with_image_size([image; 2]))
}

/// The configuration with a construction's arguments in place of the defaults.
fn configured(
    mut config: DeitConfig,
    construction: &Construction,
) -> Result<DeitConfig, ParityError> {
    let arguments: Arguments = construction.arguments()?;
    construction.refuse_dropping(&[
        arguments.drop_rate,
        arguments.pos_drop_rate,
        arguments.proj_drop_rate,
        arguments.attn_drop_rate,
        arguments.drop_path_rate,
    ])?;
    let set = |value: &mut usize, argument: Option<usize>| {
        *value = argument.unwrap_or(*value);
    };
    set(&mut config.patch_size, arguments.patch_size);
    set(&mut config.image_channels, arguments.in_chans);
    set(&mut config.num_classes, arguments.num_classes);
    set(&mut config.d_model, arguments.embed_dim);
    set(&mut config.n_layers, arguments.depth);
    set(&mut config.n_heads, arguments.num_heads);
    config.mlp_ratio = arguments.mlp_ratio.unwrap_or(config.mlp_ratio);
    config.qkv_bias = arguments.qkv_bias.unwrap_or(config.qkv_bias);
    let image_size = arguments.img_size.map(Extent::pair);
    config.image_size = image_size.unwrap_or(config.image_size);

    Ok(config)
}
