//! ResNet: the authors' for CIFAR, and timm's and torchvision's.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::{
    ResNetConfig,
    resnet::{BlockKind, ResNet, ResidualBlock, authors_name, timm_name},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Built, cifar};
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Named, Network, Subject},
};

/// The arguments of the authors' callables, and of their class `ResNet`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuthorsArguments {
    block: Option<Block>,
    num_blocks: Option<Vec<usize>>,
    num_classes: Option<usize>,
}

/// The arguments of timm's and of torchvision's `ResNet`. Those whose names begin with an underscore say nothing about a
/// network that is built and filled: how weights are made, and the width of a deep stem, which is not covered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
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

impl Block {
    fn kind(self) -> BlockKind {
        match self {
            Self::BasicBlock => BlockKind::Basic,
            Self::Bottleneck => BlockKind::Bottleneck,
        }
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
    let config = cifar(source).and_then(|(classes, file)| authors_model(file, callable, classes));
    let Some(config) = config else {
        return Ok(None);
    };
    let config = configured_by_authors(config, construction)?;

    Ok(Some(resnet_on(&config, device)))
}

/// A network of a configuration, with the names that the authors give it.
pub(crate) fn resnet<B: AutodiffBackend>(config: &ResNetConfig) -> Box<dyn Subject<B>> {
    resnet_on(config, &Default::default())
}

fn resnet_on<B: AutodiffBackend>(config: &ResNetConfig, device: &B::Device) -> Box<dyn Subject<B>> {
    Box::new(Named::new(config.init::<B>(device), authors_name))
}

/// The authors' networks for CIFAR; of the two classes `ResNet` the blocks are arguments.
fn authors_model(file: &str, callable: &str, classes: usize) -> Option<ResNetConfig> {
    let constructor = match (file, callable) {
        ("resnet_cifar.py", "resnet20" | "ResNet") => ResNetConfig::resnet20,
        ("resnet_cifar.py", "resnet32") => ResNetConfig::resnet32,
        ("resnet_cifar.py", "resnet44") => ResNetConfig::resnet44,
        ("resnet_cifar.py", "resnet56") => ResNetConfig::resnet56,
        ("resnet_cifar.py", "resnet110") => ResNetConfig::resnet110,
        ("resnet.py", "ResNet18" | "ResNet") => ResNetConfig::resnet18_cifar,
        ("resnet.py", "ResNet34") => ResNetConfig::resnet34_cifar,
        ("resnet.py", "ResNet50") => ResNetConfig::resnet50_cifar,
        ("resnet.py", "ResNet101") => ResNetConfig::resnet101_cifar,
        ("resnet.py", "ResNet152") => ResNetConfig::resnet152_cifar,
        _ => return None,
    };

    Some(constructor(classes))
}

/// The networks of timm and of torchvision.
fn package_model(name: &str) -> Option<ResNetConfig> {
    let bottlenecks = |blocks: [usize; 4]| ResNetConfig::new(blocks.into(), BlockKind::Bottleneck);

    Some(match name {
        "resnet18" => ResNetConfig::resnet18(),
        "resnet34" => ResNetConfig::resnet34(),
        "resnet26" => bottlenecks([2, 2, 2, 2]),
        "resnet50" => ResNetConfig::resnet50(),
        "resnet101" => ResNetConfig::resnet101(),
        "resnet152" => ResNetConfig::resnet152(),
        "wide_resnet50_2" => ResNetConfig::resnet50().with_width(128),
        "wide_resnet101_2" => ResNetConfig::resnet101().with_width(128),
        "resnext50_32x4d" => ResNetConfig::resnet50().with_width(4).with_groups(32),
        "resnext101_32x8d" => ResNetConfig::resnet101().with_width(8).with_groups(32),
        "resnext101_64x4d" => ResNetConfig::resnet101().with_width(4).with_groups(64),
        _ => return None,
    })
}

fn configured_by_authors(
    mut config: ResNetConfig,
    construction: &Construction,
) -> Result<ResNetConfig, ParityError> {
    let arguments: AuthorsArguments = construction.arguments()?;
    let is_class = construction.source().1 == "ResNet";
    if is_class != arguments.num_blocks.is_some() || is_class != arguments.block.is_some() {
        return Err(construction.unsupported("takes blocks if it is the class, and only then"));
    }
    config.block = arguments.block.map_or(config.block, Block::kind);
    config.blocks = arguments.num_blocks.unwrap_or(config.blocks);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);

    Ok(config)
}

/// The configuration with a construction's arguments in place of the defaults.
fn configured(
    mut config: ResNetConfig,
    construction: &Construction,
) -> Result<ResNetConfig, ParityError> {
    let arguments: Arguments = construction.arguments()?;
    if let Some(reason) = arguments.not_covered() {
        return Err(construction.unsupported(reason));
    }
    construction.refuse_dropping(&[
        arguments.drop_rate,
        arguments.drop_path_rate,
        arguments.drop_block_rate,
    ])?;
    config.block = arguments.block.map_or(config.block, Block::kind);
    config.blocks = arguments.layers.unwrap_or(config.blocks);
    config.num_classes = arguments.num_classes.unwrap_or(config.num_classes);
    config.image_channels = arguments.in_chans.unwrap_or(config.image_channels);
    config.groups = arguments.groups.unwrap_or(config.groups);
    config.width = arguments.width.unwrap_or(config.width);
    if config.block == BlockKind::Basic && (config.groups, config.width) != (1, 64) {
        return Err(construction.unsupported("has basic blocks with groups or a width"));
    }

    Ok(config)
}

impl Arguments {
    /// What a network has that is none of those here, or that cannot be compared.
    fn not_covered(&self) -> Option<&'static str> {
        let other = |argument: Option<usize>, only: usize| argument.is_some_and(|it| it != only);
        let otherwise =
            |argument: &Option<String>, only| argument.as_ref().is_some_and(|it| it != only);
        let dilates = match &self.replace_stride_with_dilation {
            Value::Array(stages) => stages.iter().any(|stage| *stage != Value::Bool(false)),
            Value::Null => false,
            _ => true,
        };
        let of_others = [
            (
                !self.stem_type.is_empty() || self.replace_stem_pool,
                "has another stem",
            ),
            (
                self.avg_down || other(self.down_kernel_size, 1),
                "has another shortcut",
            ),
            (other(self.block_reduce_first, 1), "has another first block"),
            (other(self.output_stride, 32) || dilates, "is dilated"),
            (
                otherwise(&self.global_pool, "avg") || !self.aa_layer.is_null(),
                "has another pooling",
            ),
            (otherwise(&self.act_layer, "relu"), "has another activation"),
            (
                otherwise(&self.norm_layer, "batchnorm2d"),
                "has another norm",
            ),
            (
                self.channels
                    .as_deref()
                    .is_some_and(|it| it != [64, 128, 256, 512]),
                "has other channels",
            ),
            (self.num_classes == Some(0), "has no head"),
        ];
        let found = of_others.into_iter().find(|(is_so, _)| *is_so);

        found.map(|(_, reason)| reason)
    }
}
