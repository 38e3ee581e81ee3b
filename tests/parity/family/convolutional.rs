//! Convolutional networks: what their callables take, and the sizes of their maps.

use burn::tensor::{Tensor, backend::Backend};
use mac_burn_models::{
    Activation,
    densenet::{DenseNet, DenseNetConfig},
    lenet::{LeNet, LeNetConfig, LeNetPooling},
    resnet::{BlockKind, ResNet, ResNetConfig, ResidualBlock},
    wide_resnet::{WideResNet, WideResNetConfig},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{batch::Signal, construction::Construction, error::ParityError, subject::Network};

/// The arguments of the authors' `LeNet5`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LeNetArguments {
    in_channels: Option<usize>,
    num_classes: Option<usize>,
    image_size: Option<usize>,
    act_fn: Option<String>,
    pool_fn: Option<String>,
}

/// The arguments of the authors' callables of ResNet for CIFAR, and of their class.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuthorsResNetArguments {
    block: Option<Block>,
    num_blocks: Option<Vec<usize>>,
    num_classes: Option<usize>,
}

/// The arguments of the authors' class that takes a depth.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DepthArguments {
    depth: Option<usize>,
    num_classes: Option<usize>,
}

/// The arguments of timm's and of torchvision's `ResNet`. Those whose names begin with an underscore say nothing about a
/// network that is built and filled: how weights are made, and the width of a deep stem, which is not covered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ResNetArguments {
    block: Option<Block>,
    layers: Option<Vec<usize>>,
    num_classes: Option<usize>,
    in_chans: Option<usize>,
    #[serde(alias = "cardinality")]
    groups: Option<usize>,
    #[serde(alias = "base_width", alias = "width_per_group")]
    width: Option<usize>,
    channels: Option<Vec<usize>>,
    stem_type: String,
    replace_stem_pool: bool,
    avg_down: bool,
    block_reduce_first: Option<usize>,
    down_kernel_size: Option<usize>,
    output_stride: Option<usize>,
    replace_stride_with_dilation: Value,
    global_pool: Option<String>,
    act_layer: Option<String>,
    norm_layer: Option<String>,
    aa_layer: Value,
    drop_rate: f64,
    drop_path_rate: f64,
    drop_block_rate: f64,
    #[serde(rename = "stem_width")]
    _stem_width: usize,
    #[serde(rename = "zero_init_last", alias = "zero_init_residual")]
    _zero_init: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Block {
    BasicBlock,
    Bottleneck,
}

/// The arguments of the authors' `WideResNet`; in further definitions of it some have other names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WideResNetArguments {
    depth: Option<usize>,
    #[serde(alias = "width", alias = "widening_factor")]
    widen_factor: Option<usize>,
    num_classes: Option<usize>,
    #[serde(alias = "dropRate", alias = "drop_rate", alias = "dropout")]
    dropout_rate: f64,
}

/// The arguments of the authors' callables of DenseNet, and of their class, of which one block is known.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuthorsDenseNetArguments {
    #[serde(rename = "block")]
    _block: Option<DenseBlock>,
    nblocks: Option<Vec<usize>>,
    growth_rate: Option<usize>,
    reduction: Option<f64>,
    num_classes: Option<usize>,
}

#[derive(Debug, Deserialize)]
enum DenseBlock {
    Bottleneck,
}

/// The arguments of timm's and of torchvision's `DenseNet`. Those whose names begin with an underscore change no number: whether
/// values are computed twice to save memory, and where poolings are of another kind that is not covered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DenseNetArguments {
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

impl<B: Backend> Network<B> for LeNet<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }
}

impl<B: Backend> Network<B> for ResNet<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.images()?))
    }

    fn size_at_norm(&self, norm: &str, size: usize) -> usize {
        let (of_stem, of_first_stage) = match self.stem.pool {
            Some(_) => (2, 4),
            None => (1, 1),
        };
        let Some((stage, norm)) = stage_and_rest(norm) else {
            return size.div_ceil(of_stem);
        };
        let bottleneck = matches!(self.stages[0].blocks[0], ResidualBlock::Bottleneck(_));
        let stride = match (stage, norm) {
            // Before the 3×3 convolution, which has the stride.
            (2.., "0.bn1") if bottleneck => of_first_stage << (stage - 2),
            _ => of_first_stage << (stage - 1),
        };

        size.div_ceil(stride)
    }
}

/// Of a name like `layer2.0.bn1`.
fn stage_and_rest(norm: &str) -> Option<(u32, &str)> {
    let (stage, rest) = norm.strip_prefix("layer")?.split_once('.')?;

    Some((stage.parse().ok()?, rest))
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

pub(super) fn lenet(
    mut config: LeNetConfig,
    construction: &Construction,
) -> Result<LeNetConfig, ParityError> {
    let arguments: LeNetArguments = construction.arguments()?;
    if let Some(name) = arguments.act_fn {
        let activation = activation(&name);
        config.activation =
            activation.ok_or_else(|| construction.unsupported("has another activation"))?;
    }
    config.pooling = match arguments.pool_fn.as_deref() {
        None => config.pooling,
        Some("max") => LeNetPooling::Max,
        Some("avg") => LeNetPooling::Average,
        Some(_) => return Err(construction.unsupported("has another pooling")),
    };
    config.image_channels = arguments.in_channels.unwrap_or(config.image_channels);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.image_size = arguments.image_size.map_or(config.image_size, |it| [it; 2]);

    Ok(config)
}

/// The authors' names of the functions that their networks are trained with; their list has more.
fn activation(name: &str) -> Option<Activation> {
    Some(match name {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        _ => return None,
    })
}

impl Block {
    fn kind(self) -> BlockKind {
        match self {
            Self::BasicBlock => BlockKind::Basic,
            Self::Bottleneck => BlockKind::Bottleneck,
        }
    }
}

/// The paper's ResNet of `6 n + 2` layers for CIFAR.
pub(super) fn thin(depth: usize, classes: usize) -> ResNetConfig {
    ResNetConfig {
        blocks: vec![(depth - 2) / 6; 3],
        ..ResNetConfig::resnet20(classes)
    }
}

pub(super) fn resnet(
    config: ResNetConfig,
    construction: &Construction,
) -> Result<ResNetConfig, ParityError> {
    match construction.source().0 {
        "timm" | "torchvision" => resnet_of_package(config, construction),
        "eigen_analyzer/networks/resnet_proper.py" => resnet_of_depth(construction),
        _ => resnet_of_authors(config, construction),
    }
}

fn resnet_of_depth(construction: &Construction) -> Result<ResNetConfig, ParityError> {
    let construction = construction
        .clone()
        .with_signature(&["num_classes", "depth"])?
        .without_defaults(
            &json!({ "which_conv": "conv2d", "which_norm": "BN", "affine": true, "groups": 16 }),
        );
    let arguments: DepthArguments = construction.arguments()?;
    let depth = arguments.depth.unwrap_or(20);
    construction.refuse(&[(
        depth < 8 || depth % 6 != 2,
        "has a depth that is not 6 n + 2",
    )])?;

    Ok(thin(depth, arguments.num_classes.unwrap_or(10)))
}

fn resnet_of_authors(
    mut config: ResNetConfig,
    construction: &Construction,
) -> Result<ResNetConfig, ParityError> {
    let names = ["block", "num_blocks", "num_classes"];
    let construction = construction.clone().with_signature(&names)?;
    let arguments: AuthorsResNetArguments = construction.arguments()?;
    let is_class = construction.source().1 == "ResNet";
    // A file may leave out the kind of the blocks, which is a class; another kind than the right one has other names.
    construction.refuse(&[(
        is_class != arguments.num_blocks.is_some() || (!is_class && arguments.block.is_some()),
        "takes blocks if it is the class, and only then",
    )])?;
    config.block = arguments.block.map_or(config.block, Block::kind);
    config.blocks = arguments.num_blocks.unwrap_or(config.blocks);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);

    Ok(config)
}

fn resnet_of_package(
    mut config: ResNetConfig,
    construction: &Construction,
) -> Result<ResNetConfig, ParityError> {
    let construction = construction.clone().with_signature(&["block", "layers"])?;
    let arguments: ResNetArguments = construction.arguments()?;
    arguments.refuse_what_is_not_covered(&construction)?;
    config.block = arguments.block.map_or(config.block, Block::kind);
    config.blocks = arguments.layers.unwrap_or(config.blocks);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.image_channels = arguments.in_chans.unwrap_or(config.image_channels);
    config.width = arguments.width.unwrap_or(config.width);
    construction.refuse(&[(
        config.block == BlockKind::Basic && config.width != 64,
        "has basic blocks with a width",
    )])?;

    Ok(config)
}

impl ResNetArguments {
    fn refuse_what_is_not_covered(&self, construction: &Construction) -> Result<(), ParityError> {
        let other = |argument: Option<usize>, only: usize| argument.is_some_and(|it| it != only);
        let dilates = match &self.replace_stride_with_dilation {
            Value::Array(stages) => stages.iter().any(|stage| *stage != Value::Bool(false)),
            Value::Null => false,
            _ => true,
        };
        let channels = self.channels.as_deref();
        construction.refuse(&[
            (self.replace_stem_pool, "has another stem"),
            (
                self.avg_down || other(self.down_kernel_size, 1),
                "has another shortcut",
            ),
            (other(self.block_reduce_first, 1), "has another first block"),
            (other(self.groups, 1), "has groups"),
            (other(self.output_stride, 32) || dilates, "is dilated"),
            (
                channels.is_some_and(|it| it != [64, 128, 256, 512]),
                "has other channels",
            ),
            (
                construction.source().1 == "ResNet" && self.layers.is_none(),
                "takes blocks if it is the class",
            ),
        ])?;
        refuse_other_parts(
            construction,
            &self.stem_type,
            (&self.global_pool, &self.aa_layer),
            (&self.act_layer, &self.norm_layer),
            self.num_classes,
        )?;
        construction.refuse_dropping(&[self.drop_rate, self.drop_path_rate, self.drop_block_rate])
    }
}

/// Refuses the parts of timm's and torchvision's networks, by name, that are not those of the networks here.
fn refuse_other_parts(
    construction: &Construction,
    stem: &str,
    (pooling, blur): (&Option<String>, &Value),
    (activation, norm): (&Option<String>, &Option<String>),
    classes: Option<usize>,
) -> Result<(), ParityError> {
    construction.refuse(&[
        (!stem.is_empty(), "has another stem"),
        (
            is_another(pooling, "avg") || !blur.is_null(),
            "has another pooling",
        ),
        (is_another(activation, "relu"), "has another activation"),
        (is_another(norm, "batchnorm2d"), "has another norm"),
        (classes == Some(0), "has no head"),
    ])
}

/// Whether an argument names another layer or pooling than the only one, which may be a class of PyTorch's or a name of timm's.
fn is_another(argument: &Option<String>, only: &str) -> bool {
    argument.as_ref().is_some_and(|name| {
        let class = name.rsplit('.').next().unwrap_or(name);
        !class.eq_ignore_ascii_case(only)
    })
}

pub(super) fn wide_resnet(
    mut config: WideResNetConfig,
    construction: &Construction,
) -> Result<WideResNetConfig, ParityError> {
    let construction = construction.clone().with_signature(&["depth"])?;
    let arguments: WideResNetArguments = construction.arguments()?;
    config.depth = arguments.depth.unwrap_or(config.depth);
    config.width = arguments.widen_factor.unwrap_or(config.width);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    construction.refuse(&[(
        config.depth < 10 || config.depth % 6 != 4,
        "has no depth, or one that is not 6 n + 4",
    )])?;
    construction.refuse_dropping(&[arguments.dropout_rate])?;

    Ok(config)
}

pub(super) fn densenet(
    config: DenseNetConfig,
    construction: &Construction,
) -> Result<DenseNetConfig, ParityError> {
    match construction.source().0 {
        "timm" | "torchvision" => densenet_of_package(config, construction),
        _ => densenet_of_authors(config, construction),
    }
}

/// The growth of the authors' class is 12 unless given.
fn densenet_of_authors(
    mut config: DenseNetConfig,
    construction: &Construction,
) -> Result<DenseNetConfig, ParityError> {
    let names = ["block", "nblocks"];
    let construction = construction.clone().with_signature(&names)?;
    let arguments: AuthorsDenseNetArguments = construction.arguments()?;
    let blocks = arguments.nblocks.unwrap_or_else(|| config.blocks.clone());
    construction.refuse(&[(
        blocks.len() != config.blocks.len(),
        "has another number of blocks",
    )])?;
    config.blocks = blocks;
    config.growth = arguments.growth_rate.unwrap_or(config.growth);
    config.compression = arguments.reduction.unwrap_or(config.compression);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);

    Ok(config)
}

fn densenet_of_package(
    mut config: DenseNetConfig,
    construction: &Construction,
) -> Result<DenseNetConfig, ParityError> {
    let arguments: DenseNetArguments = construction.arguments()?;
    refuse_other_parts(
        construction,
        &arguments.stem_type,
        (&arguments.global_pool, &arguments.aa_layer),
        (&arguments.act_layer, &arguments.norm_layer),
        arguments.num_classes,
    )?;
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
