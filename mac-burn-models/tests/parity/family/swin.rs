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
        Ok(self.forward(input.images()?))
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

/// The network of a name like `swin_tiny_patch4_window7_224`, or of the class, whose defaults are those of the smallest.
fn timm_model(name: &str) -> Option<SwinConfig> {
    if name == "SwinTransformer" {
        return Some(SwinConfig::tiny());
    }
    if let Some(searched) = name.strip_prefix("swin_s3_") {
        return searched_model(searched);
    }
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

/// The networks whose windows were searched for, each stage's of its own size.
fn searched_model(name: &str) -> Option<SwinConfig> {
    let (mut config, windows) = match name {
        "tiny_224" => (SwinConfig::tiny(), [7, 7, 14, 7]),
        "small_224" => (SwinConfig::small(), [14, 14, 14, 7]),
        "base_224" => (SwinConfig::small(), [7, 7, 14, 7]),
        _ => return None,
    };
    for (stage, window) in config.stages.iter_mut().zip(windows) {
        stage.window_size = [window; 2];
    }
    if name == "base_224" {
        config.stages[2].n_layers = 30;
    }

    Some(config)
}

/// The configuration with a construction's arguments in place of the defaults.
fn configured(
    mut config: SwinConfig,
    construction: &Construction,
) -> Result<SwinConfig, ParityError> {
    let construction = &construction.clone().without_defaults(&serde_json::json!({
        "norm_layer": "layernorm", "embed_layer": null,
    }));
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
        construction.refuse_dropping(&[
            self.drop_rate,
            self.proj_drop_rate,
            self.attn_drop_rate,
            self.drop_path_rate,
        ])?;
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
        let stage = |index: usize| {
            let default = defaults.get(index).unwrap_or(&defaults[0]);
            let (d_model, n_heads) = (d_model << index, heads[index]);
            let d_head = self.head_dim.as_ref().map(|size| size.at(index));
            let window_size = self.window_size.as_ref().map(|size| size.at(index).pair());
            let mlp_ratio = self.mlp_ratio.as_ref().map(|ratio| ratio.at(index));
            SwinStageConfig::new(d_model, depths[index], n_heads)
                // timm rounds down.
                .with_d_head(d_head.or(d_model.checked_div(n_heads)))
                .with_window_size(window_size.unwrap_or(default.window_size))
                .with_mlp_ratio(mlp_ratio.unwrap_or(default.mlp_ratio))
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

/// Breaks when an argument is read another way than timm reads it.
#[test]
fn arguments_are_read_as_timm_does() {
    let configuration = |arguments: serde_json::Value| {
        let arguments = serde_json::from_value(arguments).expect("arguments are an object");
        let model = "swin_base_patch4_window12_384";
        let construction = Construction::new(&format!("timm:{model}"), arguments);
        configured(
            timm_model(model).expect("it is one of timm's"),
            &construction,
        )
    };

    let default = configuration(serde_json::json!({})).expect("nothing is refused");
    assert_eq!(default.image_size, [384, 384]);
    let stage = &default.stages[3];
    assert_eq!((stage.d_model, stage.d_head), (1024, Some(32)));
    assert_eq!(stage.window_size, [12, 12]);

    let other = configuration(serde_json::json!({
        "img_size": [64, 96], "embed_dim": 20, "depths": [1, 3], "num_heads": [3, 4], "window_size": [5, 6],
        "mlp_ratio": [2.0, 3.5], "strict_img_size": false, "global_pool": "avg", "head_dim": null,
    }));
    let other = other.expect("nothing is refused");
    assert_eq!(other.image_size, [64, 96]);
    let stage = &other.stages[1];
    assert_eq!((stage.d_model, stage.n_layers, stage.n_heads), (40, 3, 4));
    assert_eq!((stage.window_size, stage.mlp_ratio), ([5, 6], 3.5));
    assert_eq!(other.stages[0].d_head, Some(6));

    let sizes = serde_json::json!({ "window_size": [7, 7, [14, 13], 7], "head_dim": 16 });
    let sizes = configuration(sizes).expect("nothing is refused").stages;
    assert_eq!(
        (sizes[2].window_size, sizes[3].window_size),
        ([14, 13], [7, 7])
    );
    assert_eq!(sizes[2].d_head, Some(16));

    for refused in [
        serde_json::json!({ "window_size": [7, 7, 7] }),
        serde_json::json!({ "depths": [2, 2] }),
        serde_json::json!({ "num_classes": 0 }),
        serde_json::json!({ "global_pool": "max" }),
        serde_json::json!({ "ape": true }),
        serde_json::json!({ "proj_drop_rate": 0.1 }),
    ] {
        assert!(configuration(refused.clone()).is_err(), "{refused}");
    }
}

/// Breaks when a name has the depths or windows of another, or keeps the name of its weights.
#[test]
fn names_are_those_of_timm() {
    let of = |source: &str| {
        let construction = Construction::new(source, Default::default());
        let config = configured(timm_model(construction.source().1)?, &construction).ok()?;
        let depths: Vec<usize> = config.stages.iter().map(|it| it.n_layers).collect();
        let windows: Vec<usize> = config.stages.iter().map(|it| it.window_size[0]).collect();
        Some((config.stages[0].d_model, depths, windows))
    };

    let tiny = of("timm:swin_tiny_patch4_window7_224.ms_in1k");
    assert_eq!(tiny, Some((96, vec![2, 2, 6, 2], vec![7; 4])));
    let searched = of("timm:swin_s3_base_224.ms_in1k");
    assert_eq!(searched, Some((96, vec![2, 2, 30, 2], vec![7, 7, 14, 7])));
    assert_eq!(of("timm:swin_s3_large_224"), None);
    assert_eq!(of("timm:swinv2_tiny_window8_256"), None);
}
