//! Transformers: what their callables take.

use burn::tensor::{Tensor, backend::Backend};
use mac_burn_models::{
    gpt::{Gpt, GptConfig},
    swin::{Swin, SwinConfig, SwinStageConfig},
    vision_transformer::{VisionTransformer, VisionTransformerConfig},
};
use serde::Deserialize;
use serde_json::json;

use crate::{batch::Signal, construction::Construction, error::ParityError, subject::Network};

/// The arguments of timm's `VisionTransformer` and of the authors' classes that are covered. Those whose names begin with an
/// underscore say nothing about a network that is built and filled, and sees images of its size: which other sizes are taken,
/// and how weights are made.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeitArguments {
    img_size: Option<Extent>,
    patch_size: Option<Extent>,
    in_chans: Option<usize>,
    num_classes: Option<usize>,
    #[serde(rename = "global_pool")]
    _global_pool: Option<TokenPool>,
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
enum TokenPool {
    Token,
}

/// The arguments of timm's `SwinTransformer` that are covered. Those whose names begin with an underscore say nothing about a
/// network that is built and filled: whether images of other sizes are refused, and how weights are made.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SwinArguments {
    img_size: Option<Extent>,
    patch_size: Option<Extent>,
    in_chans: Option<usize>,
    num_classes: Option<usize>,
    #[serde(rename = "global_pool")]
    _global_pool: Option<MeanPool>,
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
enum MeanPool {
    Avg,
}

/// The fields of nanoGPT's `GPTConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GptArguments {
    block_size: Option<usize>,
    vocab_size: Option<usize>,
    n_layer: Option<usize>,
    n_head: Option<usize>,
    n_embd: Option<usize>,
    dropout: f64,
    bias: Option<bool>,
}

/// A height and a width, as one number where they are the same.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Extent {
    Square(usize),
    Rectangle([usize; 2]),
}

/// A value for all stages, or one for each; of windows, two numbers are a height and a width and not two stages.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PerStage<T> {
    All(T),
    Each(Vec<T>),
}

impl<B: Backend> Network<B> for VisionTransformer<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }
}

impl<B: Backend> Network<B> for Swin<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }
}

impl<B: Backend> Network<B> for Gpt<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.tokens()?).flatten(0, 1))
    }
}

pub(super) fn deit(
    mut config: VisionTransformerConfig,
    construction: &Construction,
) -> Result<VisionTransformerConfig, ParityError> {
    let construction = construction.clone().without_defaults(&json!({
        "class_token": true, "pos_embed": "learn", "no_embed_class": false, "reg_tokens": 0, "qk_norm": false,
        "init_values": null, "pre_norm": false, "final_norm": true, "fc_norm": null, "norm_layer": null, "act_layer": null,
    }));
    let arguments: DeitArguments = construction.arguments()?;
    construction.refuse_dropping(&[
        arguments.drop_rate,
        arguments.pos_drop_rate,
        arguments.proj_drop_rate,
        arguments.attn_drop_rate,
        arguments.patch_drop_rate,
        arguments.drop_path_rate,
    ])?;
    let [patch, patch_width] = arguments
        .patch_size
        .map_or([config.patch_size; 2], Extent::pair);
    config.patch_size = patch;
    config.image_channels = arguments.in_chans.unwrap_or(config.image_channels);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.d_model = arguments.embed_dim.unwrap_or(config.d_model);
    config.n_layers = arguments.depth.unwrap_or(config.n_layers);
    config.n_heads = arguments.num_heads.unwrap_or(config.n_heads);
    config.mlp_ratio = arguments.mlp_ratio.unwrap_or(config.mlp_ratio);
    config.qkv_bias = arguments.qkv_bias.unwrap_or(config.qkv_bias);
    config.image_size = arguments.img_size.map_or(config.image_size, Extent::pair);
    let divided = config.image_size.iter().all(|it| it.is_multiple_of(patch));
    construction.refuse(&[
        (arguments.num_classes == Some(0), "has no head"),
        (patch != patch_width, "has patches that are not square"),
        (
            arguments.dynamic_img_pad && !divided,
            "fills up the last patches of an image",
        ),
    ])?;

    Ok(config)
}

pub(super) fn gpt(
    config: GptConfig,
    construction: &Construction,
) -> Result<GptConfig, ParityError> {
    let arguments: GptArguments = construction.arguments()?;
    construction.refuse_dropping(&[arguments.dropout])?;

    Ok(GptConfig {
        vocab_size: arguments.vocab_size.unwrap_or(config.vocab_size),
        context_size: arguments.block_size.unwrap_or(config.context_size),
        n_layers: arguments.n_layer.unwrap_or(config.n_layers),
        n_heads: arguments.n_head.unwrap_or(config.n_heads),
        d_model: arguments.n_embd.unwrap_or(config.d_model),
        bias: arguments.bias.unwrap_or(config.bias),
        ..config
    })
}

pub(super) fn swin(
    mut config: SwinConfig,
    construction: &Construction,
) -> Result<SwinConfig, ParityError> {
    let construction = construction
        .clone()
        .without_defaults(&json!({ "norm_layer": "layernorm", "embed_layer": null }));
    let arguments: SwinArguments = construction.arguments()?;
    construction.refuse_dropping(&[
        arguments.drop_rate,
        arguments.proj_drop_rate,
        arguments.attn_drop_rate,
        arguments.drop_path_rate,
    ])?;
    construction.refuse(&[(arguments.num_classes == Some(0), "has no head")])?;
    config.stages = arguments.stages(&config.stages, &construction)?;
    config.image_size = arguments.img_size.map_or(config.image_size, Extent::pair);
    config.patch_size = arguments.patch_size.map_or(config.patch_size, Extent::pair);
    config.image_channels = arguments.in_chans.unwrap_or(config.image_channels);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.qkv_bias = arguments.qkv_bias.unwrap_or(config.qkv_bias);
    config.always_partition = arguments.always_partition;

    Ok(config)
}

impl SwinArguments {
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
        construction.refuse(&[(
            count == 0 || lengths.iter().any(|length| *length != count),
            "has arguments for another number of stages",
        )])?;
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

impl Extent {
    /// Height and width.
    fn pair(self) -> [usize; 2] {
        match self {
            Self::Square(size) => [size; 2],
            Self::Rectangle(size) => size,
        }
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
