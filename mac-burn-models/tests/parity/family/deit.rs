//! ViT and DeiT: timm's, and the authors' for images of 32×32.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::pytorch::Name;
use mac_burn_models::vision_transformer::{
    VisionTransformer, VisionTransformerConfig, authors_name, timm_name,
};
use serde::Deserialize;

use super::{Built, Extent};
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Described, Named, Network, Subject},
    suite::Single,
};

/// The arguments of timm's `VisionTransformer` and of the authors' classes that are covered. Those whose names begin with an
/// underscore say nothing about a network that is built and filled, and sees images of its size: which other sizes are taken,
/// and how weights are made.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    img_size: Option<Extent>,
    patch_size: Option<Extent>,
    in_chans: Option<usize>,
    num_classes: Option<usize>,
    #[serde(rename = "global_pool")]
    _global_pool: Option<Pool>,
    embed_dim: Option<usize>,
    depth: Option<usize>,
    num_heads: Option<usize>,
    mlp_ratio: Option<f64>,
    qkv_bias: Option<bool>,
    drop_rate: f64,
    pos_drop_rate: f64,
    proj_drop_rate: f64,
    attn_drop_rate: f64,
    patch_drop_rate: f64,
    drop_path_rate: f64,
    #[serde(rename = "strict_img_size")]
    _strict_img_size: bool,
    #[serde(rename = "dynamic_img_size")]
    _dynamic_img_size: bool,
    dynamic_img_pad: bool,
    #[serde(rename = "weight_init")]
    _weight_init: String,
    #[serde(rename = "fix_init")]
    _fix_init: bool,
}

/// The pooling that takes the class token, the only one of these networks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pool {
    Token,
}

impl<B: Backend> Network<B> for VisionTransformer<B> {
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
        ("timm", model) => (timm_model(model), timm_name),
        (file, callable) => (authors_model(file, callable), authors_name),
    };
    let Some(config) = config else {
        return Ok(None);
    };
    let config = configured(config, construction)?;

    Ok(Some(Box::new(Named::new(config.init::<B>(device), name))))
}

/// A network of a configuration, with the names that the authors give it.
pub(crate) fn deit<B: AutodiffBackend>(config: &VisionTransformerConfig) -> Box<dyn Subject<B>> {
    Box::new(Named::new(
        config.init::<B>(&Default::default()),
        authors_name,
    ))
}

/// The authors' networks for small images. What one of their classes calls tiny has the size of DeiT-S.
fn authors_model(file: &str, callable: &str) -> Option<VisionTransformerConfig> {
    let (config, image_size, classes) = match (file, callable) {
        ("cifar100/models/deit_cifar.py", "DeiT32Tiny") => {
            (VisionTransformerConfig::deit_tiny(), 32, 100)
        }
        ("eigen_analyzer/networks/deit.py", "DeiT_tiny") => {
            (VisionTransformerConfig::deit_small(), 32, 100)
        }
        ("eigen_analyzer/networks/deit.py", "DeiT_tiny_imagenet") => {
            (VisionTransformerConfig::deit_tiny(), 64, 200)
        }
        _ => return None,
    };

    Some(
        config
            .with_patch_size(4)
            .with_image_size([image_size; 2])
            .with_num_classes(classes),
    )
}

/// The network of a name like `deit_small_patch16_224`, or of the class, whose defaults are those of the base.
fn timm_model(name: &str) -> Option<VisionTransformerConfig> {
    if name == "VisionTransformer" {
        return Some(VisionTransformerConfig::deit_base());
    }
    let parts: Vec<&str> = name.split('_').collect();
    let &["deit" | "vit", size, patch, image] = parts.as_slice() else {
        return None;
    };
    let config = match size {
        "tiny" => VisionTransformerConfig::deit_tiny(),
        "small" => VisionTransformerConfig::deit_small(),
        "base" => VisionTransformerConfig::deit_base(),
        "large" => VisionTransformerConfig::new(1024, 16).with_n_layers(24),
        "huge" => VisionTransformerConfig::new(1280, 16).with_n_layers(32),
        "giant" => VisionTransformerConfig::new(1408, 16)
            .with_n_layers(40)
            .with_mlp_ratio(48.0 / 11.0),
        "gigantic" => VisionTransformerConfig::new(1664, 16)
            .with_n_layers(48)
            .with_mlp_ratio(64.0 / 13.0),
        _ => return None,
    };
    let patch = patch.strip_prefix("patch")?.parse().ok()?;
    let image = image.parse().ok()?;

    Some(config.with_patch_size(patch).with_image_size([image; 2]))
}

/// The configuration with a construction's arguments in place of the defaults.
fn configured(
    mut config: VisionTransformerConfig,
    construction: &Construction,
) -> Result<VisionTransformerConfig, ParityError> {
    let construction = construction.clone().without_defaults(&serde_json::json!({
        "class_token": true, "pos_embed": "learn", "no_embed_class": false, "reg_tokens": 0, "qk_norm": false,
        "init_values": null, "pre_norm": false, "final_norm": true, "fc_norm": null, "norm_layer": null, "act_layer": null,
    }));
    let arguments: Arguments = construction.arguments()?;
    construction.refuse_dropping(&[
        arguments.drop_rate,
        arguments.pos_drop_rate,
        arguments.proj_drop_rate,
        arguments.attn_drop_rate,
        arguments.patch_drop_rate,
        arguments.drop_path_rate,
    ])?;
    if arguments.num_classes == Some(0) {
        return Err(construction.unsupported("has no head"));
    }
    config.patch_size = match arguments.patch_size.map(Extent::pair) {
        None => config.patch_size,
        Some([height, width]) if height == width => height,
        Some(_) => return Err(construction.unsupported("has patches that are not square")),
    };
    let set = |value: &mut usize, argument: Option<usize>| {
        *value = argument.unwrap_or(*value);
    };
    set(&mut config.image_channels, arguments.in_chans);
    set(&mut config.num_classes, arguments.num_classes);
    set(&mut config.d_model, arguments.embed_dim);
    set(&mut config.n_layers, arguments.depth);
    set(&mut config.n_heads, arguments.num_heads);
    config.mlp_ratio = arguments.mlp_ratio.unwrap_or(config.mlp_ratio);
    config.qkv_bias = arguments.qkv_bias.unwrap_or(config.qkv_bias);
    let image_size = arguments.img_size.map(Extent::pair);
    config.image_size = image_size.unwrap_or(config.image_size);
    let divides = |size: &usize| size.is_multiple_of(config.patch_size);
    if arguments.dynamic_img_pad && !config.image_size.iter().all(divides) {
        return Err(construction.unsupported("fills up the last patches of an image"));
    }

    Ok(config)
}

/// The number of parameters of a construction, if it is one of this family.
fn parameters(source: &str, arguments: serde_json::Value) -> Result<Option<usize>, ParityError> {
    let arguments = serde_json::from_value(arguments).expect("arguments are an object");
    let construction = Construction::new(source, arguments);
    let network = build::<Single>(&construction, &Default::default())?;
    let tensors = network.map(|network| network.tensors());

    Ok(tensors.map(|tensors| tensors.iter().map(Described::num_elements).sum()))
}

/// Breaks when a name has the size of another, or that of another kind of network is taken.
#[test]
fn names_are_those_of_timm_and_of_the_authors() {
    for (source, expected) in [
        ("timm:deit_small_patch16_224.fb_in1k", Some(22_050_664)),
        ("timm:vit_base_patch32_224", Some(88_224_232)),
        ("timm:vit_large_patch16_224", Some(304_326_632)),
        ("timm:vit_huge_patch14_224", Some(632_045_800)),
        ("timm:vit_giant_patch14_224", Some(1_012_611_432)),
        ("timm:vit_gigantic_patch14_224", Some(1_844_440_680)),
        ("timm:VisionTransformer", Some(86_567_656)),
        (
            "eigen_analyzer/networks/deit.py:DeiT_tiny",
            Some(21_376_996),
        ),
        (
            "eigen_analyzer/networks/deit.py:DeiT_tiny_imagenet",
            Some(5_436_296),
        ),
        ("timm:deit3_small_patch16_224", None),
        ("timm:vit_base_patch16_clip_224", None),
        ("timm:vit_medium_patch16_224", None),
    ] {
        let found = parameters(source, serde_json::json!({}));
        assert_eq!(found.expect("it is understood"), expected, "{source}");
    }
}

/// Breaks when an argument is read another way than timm reads it, or one that makes another network is passed over.
#[test]
fn arguments_are_read_as_timm_does() {
    let parameters = |arguments| parameters("timm:VisionTransformer", arguments);
    let understood = serde_json::json!({
        "img_size": [8, 12], "patch_size": [4, 4], "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 3,
        "global_pool": "token", "strict_img_size": false, "dynamic_img_size": true, "weight_init": "skip",
        "class_token": true, "init_values": null,
    });
    // Patches, class token, seven positions; blocks; norm and head.
    let expected = (3 * 16 + 1) * 8 + 8 + 7 * 8 + 2 * (12 * 64 + 13 * 8) + 16 + 8 * 3 + 3;
    let mut remainder = understood.clone();
    remainder["img_size"] = serde_json::json!([11, 13]);
    for understood in [understood, remainder] {
        let found = parameters(understood).expect("it is understood");
        assert_eq!(found, Some(expected));
    }

    for refused in [
        serde_json::json!({ "patch_size": [4, 8] }),
        serde_json::json!({ "global_pool": "avg" }),
        serde_json::json!({ "num_classes": 0 }),
        serde_json::json!({ "class_token": false }),
        serde_json::json!({ "init_values": 1e-5 }),
        serde_json::json!({ "patch_drop_rate": 0.1 }),
        serde_json::json!({ "img_size": 23, "patch_size": 4, "dynamic_img_pad": true }),
    ] {
        assert!(parameters(refused.clone()).is_err(), "{refused}");
    }
}
