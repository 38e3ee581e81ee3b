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
use serde_json::{Value, json};

use super::{Built, cifar, is_another};
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
    if let ("eigen_analyzer/networks/resnet_proper.py", "ResNet") = (source, callable) {
        return Ok(Some(resnet_on(&of_depth(construction)?, device)));
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
        ("resnet_cifar.py", "resnet1202") => |classes| thin(1202, classes),
        ("resnet.py", "ResNet18" | "ResNet") => ResNetConfig::resnet18_cifar,
        ("resnet.py", "ResNet34") => ResNetConfig::resnet34_cifar,
        ("resnet.py", "ResNet50") => ResNetConfig::resnet50_cifar,
        ("resnet.py", "ResNet101") => ResNetConfig::resnet101_cifar,
        ("resnet.py", "ResNet152") => ResNetConfig::resnet152_cifar,
        _ => return None,
    };

    Some(constructor(classes))
}

/// The paper's network of `6 n + 2` layers for CIFAR.
fn thin(depth: usize, classes: usize) -> ResNetConfig {
    ResNetConfig {
        blocks: vec![(depth - 2) / 6; 3],
        ..ResNetConfig::resnet20(classes)
    }
}

/// The network of another file of the authors, whose depth is an argument.
fn of_depth(construction: &Construction) -> Result<ResNetConfig, ParityError> {
    let construction = construction
        .clone()
        .with_signature(&["num_classes", "depth"])?
        .without_defaults(
            &json!({ "which_conv": "conv2d", "which_norm": "BN", "affine": true, "groups": 16 }),
        );
    let arguments: DepthArguments = construction.arguments()?;
    let depth = arguments.depth.unwrap_or(20);
    if depth < 8 || depth % 6 != 2 {
        return Err(construction.unsupported("has a depth that is not 6 n + 2"));
    }

    Ok(thin(depth, arguments.num_classes.unwrap_or(10)))
}

/// The networks of timm and of torchvision; of the class `ResNet` the blocks are arguments.
fn package_model(name: &str) -> Option<ResNetConfig> {
    let bottlenecks = |blocks: [usize; 4]| ResNetConfig::new(blocks.into(), BlockKind::Bottleneck);

    Some(match name {
        "resnet18" | "ResNet" => ResNetConfig::resnet18(),
        "resnet34" => ResNetConfig::resnet34(),
        "resnet26" => bottlenecks([2, 2, 2, 2]),
        "resnet50" => ResNetConfig::resnet50(),
        "resnet101" => ResNetConfig::resnet101(),
        "resnet152" => ResNetConfig::resnet152(),
        "wide_resnet50_2" => ResNetConfig::resnet50().with_width(128),
        "wide_resnet101_2" => ResNetConfig::resnet101().with_width(128),
        _ => return None,
    })
}

fn configured_by_authors(
    mut config: ResNetConfig,
    construction: &Construction,
) -> Result<ResNetConfig, ParityError> {
    let names = ["block", "num_blocks", "num_classes"];
    let construction = construction.clone().with_signature(&names)?;
    let arguments: AuthorsArguments = construction.arguments()?;
    let is_class = construction.source().1 == "ResNet";
    // A file may leave out the kind of the blocks, which is a class; another kind than the right one has other names.
    if is_class != arguments.num_blocks.is_some() || (!is_class && arguments.block.is_some()) {
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
    let construction = construction.clone().with_signature(&["block", "layers"])?;
    let arguments: Arguments = construction.arguments()?;
    if let Some(reason) = arguments.not_covered() {
        return Err(construction.unsupported(reason));
    }
    if construction.source().1 == "ResNet" && arguments.layers.is_none() {
        return Err(construction.unsupported("takes blocks if it is the class"));
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
    config.width = arguments.width.unwrap_or(config.width);
    if config.block == BlockKind::Basic && config.width != 64 {
        return Err(construction.unsupported("has basic blocks with a width"));
    }

    Ok(config)
}

impl Arguments {
    /// What a network has that is none of those here, or that cannot be compared.
    fn not_covered(&self) -> Option<&'static str> {
        let other = |argument: Option<usize>, only: usize| argument.is_some_and(|it| it != only);
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
            (other(self.groups, 1), "has groups"),
            (other(self.output_stride, 32) || dilates, "is dilated"),
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

/// Breaks when blocks of a signature are passed over, a class is built without blocks, or another norm is taken for the only one.
#[test]
fn classes_take_their_blocks_as_arguments_or_in_brackets() {
    use crate::{subject::Described, suite::Single};

    let parameters = |source: &str, arguments: Value| {
        let arguments = serde_json::from_value(arguments).expect("arguments are an object");
        let construction = Construction::new(source, arguments);
        let network = build::<Single>(&construction, &Default::default()).ok()??;
        let tensors = network.tensors();
        let parameters = tensors.iter().filter(|it| !it.is_buffer());
        Some(parameters.map(Described::num_elements).sum::<usize>())
    };
    let none = json!({});

    let thin = "cifar10/models/resnet_cifar.py:ResNet";
    let expected = Some(269_722);
    let blocks = json!({ "num_blocks": [3, 3, 3] });
    assert_eq!(parameters(thin, blocks), expected);
    let in_brackets = format!("{thin}(BasicBlock, [3, 3, 3])");
    assert_eq!(parameters(&in_brackets, none.clone()), expected);
    assert_eq!(parameters(thin, none.clone()), None);
    let proper = "eigen_analyzer/networks/resnet_proper.py:ResNet";
    let normed = json!({ "depth": 20, "which_norm": "BN" });
    assert_eq!(parameters(proper, normed), expected);
    assert_eq!(parameters(proper, json!({ "which_norm": "GN" })), None);

    let bottlenecks = "cifar100/models/resnet.py:ResNet(Bottleneck, [3, 4, 6, 3])";
    let expected = Some(23_705_252);
    assert_eq!(parameters(bottlenecks, none.clone()), expected);
    let class = json!({ "block": "BasicBlock", "layers": [2, 2, 2, 2], "act_layer": "nn.ReLU" });
    let expected = Some(11_689_512);
    assert_eq!(parameters("timm:ResNet", class), expected);
    for refused in [none, json!({ "layers": [1], "cardinality": 32 })] {
        assert_eq!(
            parameters("timm:ResNet", refused.clone()),
            None,
            "{refused}"
        );
    }
}
