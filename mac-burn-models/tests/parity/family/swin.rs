//! Swin Transformers, timm's.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::swin::{Swin, SwinConfig, SwinStageConfig, timm_name};
use serde::Deserialize;

use super::{Built, Extent};
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Named, Network, Subject},
};

/// The arguments of timm's `SwinTransformer` that are covered. Two say nothing about a network that is built and filled:
/// whether images of other sizes are refused, and how weights are made.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    img_size: Option<Extent>,
    patch_size: Option<Extent>,
    in_chans: Option<usize>,
    num_classes: Option<usize>,
    global_pool: Option<Pool>,
    embed_dim: Option<usize>,
    depths: Option<Vec<usize>>,
    num_heads: Option<Vec<usize>>,
    head_dim: Option<PerStage<usize>>,
    window_size: Option<PerStage<Extent>>,
    always_partition: bool,
    #[serde(rename = "strict_img_size")]
    _strict_img_size: bool,
    #[serde(rename = "dynamic_img_size")]
    _dynamic_img_size: bool,
    mlp_ratio: Option<PerStage<f64>>,
    qkv_bias: Option<bool>,
    drop_rate: f64,
    proj_drop_rate: f64,
    attn_drop_rate: f64,
    drop_path_rate: f64,
    #[serde(rename = "weight_init")]
    _weight_init: String,
}

/// The one pooling that Swin Transformers have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pool {
    Avg,
}

/// A value for all stages, or one for each; of windows, two numbers are a height and a width and not two stages.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PerStage<T> {
    All(T),
    Each(Vec<T>),
}

impl<B: Backend> Network<B> for Swin<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        match input {
            Signal::Images(images) => Ok(self.forward(images)),
            Signal::Tokens(_) => Err(ParityError::Input(2)),
        }
    }
}

/// A network of this family, if the construction is one.
pub(super) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    let ("timm", model) = construction.source() else {
        return Ok(None);
    };
    let Some(config) = timm_model(model) else {
        return Ok(None);
    };
    let config = configured(config, construction)?;

    Ok(Some(Box::new(Named::new(
        config.init::<B>(device),
        timm_name,
    ))))
}

/// A network of a configuration.
pub(crate) fn swin<B: AutodiffBackend>(config: &SwinConfig) -> Box<dyn Subject<B>> {
    Box::new(Named::new(config.init::<B>(&Default::default()), timm_name))
}

/// The network of a name like `swin_tiny_patch4_window7_224`.
fn timm_model(name: &str) -> Option<SwinConfig> {
    let parts: Vec<&str> = name.split('_').collect();
    let &["swin", size, patch, window, image] = parts.as_slice() else {
        return None;
    };
    let config = match size {
        "tiny" => SwinConfig::tiny(),
        "small" => SwinConfig::small(),
        "base" => SwinConfig::base(),
        "large" => SwinConfig::large(),
        _ => return None,
    };
    let patch = patch.strip_prefix("patch")?.parse().ok()?;
    let window = window.strip_prefix("window")?.parse().ok()?;
    let image = image.parse().ok()?;

    Some(
        config
            .with_patch_size([patch; 2])
            .with_window_size([window; 2])
            .with_image_size([image; 2]),
    )
}

/// The configuration with a construction's arguments in place of the defaults.
fn configured(
    mut config: SwinConfig,
    construction: &Construction,
) -> Result<SwinConfig, ParityError> {
    let arguments: Arguments = construction.arguments()?;
    arguments.refuse_what_cannot_be_compared(construction)?;
    config.stages = arguments.stages(&config.stages, construction)?;
    let pair = |extent: &Option<Extent>, default| extent.map_or(default, Extent::pair);
    config.image_size = pair(&arguments.img_size, config.image_size);
    config.patch_size = pair(&arguments.patch_size, config.patch_size);
    config.image_channels = arguments.in_chans.unwrap_or(config.image_channels);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.qkv_bias = arguments.qkv_bias.unwrap_or(config.qkv_bias);
    config.always_partition = arguments.always_partition;

    Ok(config)
}

impl Arguments {
    /// What is dropped at random cannot be compared, nor can a network without a head.
    fn refuse_what_cannot_be_compared(
        &self,
        construction: &Construction,
    ) -> Result<(), ParityError> {
        let rates = [
            self.drop_rate,
            self.proj_drop_rate,
            self.attn_drop_rate,
            self.drop_path_rate,
        ];
        if rates.iter().any(|rate| *rate != 0.0) {
            return Err(construction.unsupported("drops at random"));
        }
        match self.num_classes {
            Some(0) => Err(construction.unsupported("has no head")),
            _ => Ok(()),
        }
    }

    /// The stages: as many as there are depths, each with twice the channels of the one before.
    fn stages(
        &self,
        defaults: &[SwinStageConfig],
        construction: &Construction,
    ) -> Result<Vec<SwinStageConfig>, ParityError> {
        let of = |value: fn(&SwinStageConfig) -> usize| defaults.iter().map(value).collect();
        let depths: Vec<usize> = self.depths.clone().unwrap_or_else(|| of(|d| d.n_layers));
        let heads: Vec<usize> = self.num_heads.clone().unwrap_or_else(|| of(|d| d.n_heads));
        let d_model = self.embed_dim.unwrap_or(defaults[0].d_model);
        let count = depths.len();
        let lengths = [
            heads.len(),
            PerStage::count(&self.head_dim, count),
            PerStage::count(&self.mlp_ratio, count),
            PerStage::count(&self.window_size, count),
        ];
        if count == 0 || lengths.iter().any(|length| *length != count) {
            return Err(construction.unsupported("has arguments for another number of stages"));
        }
        let stage = |index: usize| SwinStageConfig {
            d_head: self.head_dim.as_ref().map(|size| size.at(index)),
            window_size: self
                .window_size
                .as_ref()
                .map_or(defaults[0].window_size, |size| size.at(index).pair()),
            mlp_ratio: self
                .mlp_ratio
                .as_ref()
                .map_or(defaults[0].mlp_ratio, |ratio| ratio.at(index)),
            ..SwinStageConfig::new(d_model << index, depths[index], heads[index])
        };

        Ok((0..count).map(stage).collect())
    }
}

impl<T: Copy> PerStage<T> {
    fn at(&self, stage: usize) -> T {
        match self {
            Self::All(value) => *value,
            Self::Each(values) => values[stage],
        }
    }

    /// For how many stages there are values, of this many.
    fn count(values: &Option<Self>, stages: usize) -> usize {
        match values {
            Some(Self::Each(values)) => values.len(),
            _ => stages,
        }
    }
}
