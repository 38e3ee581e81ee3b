//! The families of networks that are covered: the network of each callable, and how it is built.

mod convolutional;
mod tests;
mod transformers;

use burn::tensor::backend::AutodiffBackend;
use mac_burn_models::{
    DenseNetConfig, GptConfig, LeNetConfig, ResNetConfig, SwinConfig, VisionTransformerConfig,
    WideResNetConfig, densenet, gpt, lenet,
    lenet::LeNetPooling,
    pytorch::Name,
    resnet::{self, BlockKind},
    swin, vision_transformer, wide_resnet,
};

use crate::{
    construction::Construction,
    error::ParityError,
    subject::{Named, Subject},
};

/// The configuration of a network of any family.
///
/// A further family is a variant here, with its callables in the tables below and a function that reads their arguments.
#[derive(Clone, Debug)]
pub(crate) enum Config {
    Deit(VisionTransformerConfig),
    DenseNet(DenseNetConfig),
    Gpt(GptConfig),
    LeNet(LeNetConfig),
    ResNet(ResNetConfig),
    Swin(SwinConfig),
    WideResNet(WideResNetConfig),
}

/// The definition whose names the parameters have, of families with more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Authors,
    /// timm's, which are torchvision's too.
    Timm,
}

/// Builds the network of a construction; none if no family covers it.
pub(crate) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Result<Option<Box<dyn Subject<B>>>, ParityError> {
    let names = match construction.source().0 {
        "timm" | "torchvision" => Names::Timm,
        _ => Names::Authors,
    };
    let config = config(construction)?;

    Ok(config.map(|config| config.init(names, device)))
}

/// The configuration of a construction's network; none if no family covers it.
fn config(construction: &Construction) -> Result<Option<Config>, ParityError> {
    let (source, callable) = construction.source();
    let default = match source {
        "timm" => timm_model(callable).or_else(|| package_model(callable)),
        "torchvision" => package_model(callable),
        file => authors_model(file, callable),
    };
    let configured = default.map(|config| config.with_arguments(construction));

    configured.transpose()
}

impl Config {
    /// The network, before it is filled.
    pub(crate) fn init<B: AutodiffBackend>(
        &self,
        names: Names,
        device: &B::Device,
    ) -> Box<dyn Subject<B>> {
        let either = |authors: Name, timm: Name| match names {
            Names::Authors => authors,
            Names::Timm => timm,
        };
        match self {
            Self::Deit(config) => {
                let name = either(
                    vision_transformer::authors_name,
                    vision_transformer::timm_name,
                );
                Box::new(Named::new(config.init::<B>(device), name))
            }
            Self::DenseNet(config) => {
                let name = either(densenet::authors_name, densenet::timm_name);
                Box::new(Named::new(config.init::<B>(device), name))
            }
            Self::Gpt(config) => Box::new(Named::new(config.init::<B>(device), gpt::authors_name)),
            Self::LeNet(config) => {
                Box::new(Named::new(config.init::<B>(device), lenet::authors_name))
            }
            Self::ResNet(config) => {
                let name = either(resnet::authors_name, resnet::timm_name);
                Box::new(Named::new(config.init::<B>(device), name))
            }
            Self::Swin(config) => Box::new(Named::new(config.init::<B>(device), swin::timm_name)),
            Self::WideResNet(config) => {
                let name = wide_resnet::authors_name;
                Box::new(Named::new(config.init::<B>(device), name))
            }
        }
    }

    /// The configuration with a construction's arguments in place of the callable's defaults.
    fn with_arguments(self, construction: &Construction) -> Result<Self, ParityError> {
        Ok(match self {
            Self::Deit(config) => Self::Deit(transformers::deit(config, construction)?),
            Self::DenseNet(config) => {
                Self::DenseNet(convolutional::densenet(config, construction)?)
            }
            Self::Gpt(config) => Self::Gpt(transformers::gpt(config, construction)?),
            Self::LeNet(config) => Self::LeNet(convolutional::lenet(config, construction)?),
            Self::ResNet(config) => Self::ResNet(convolutional::resnet(config, construction)?),
            Self::Swin(config) => Self::Swin(transformers::swin(config, construction)?),
            Self::WideResNet(config) => {
                Self::WideResNet(convolutional::wide_resnet(config, construction)?)
            }
        })
    }
}

/// The authors' networks, by file and callable. A class of theirs called tiny has the size of DeiT-S.
fn authors_model(file: &str, callable: &str) -> Option<Config> {
    let small = |config: VisionTransformerConfig, size, classes| {
        let config = config.with_patch_size(4).with_image_size([size; 2]);
        Config::Deit(config.with_num_classes(classes))
    };
    Some(match (file, callable) {
        ("cifar100/models/deit_cifar.py", "DeiT32Tiny") => {
            small(VisionTransformerConfig::deit_tiny(), 32, 100)
        }
        ("eigen_analyzer/networks/deit.py", "DeiT_tiny") => {
            small(VisionTransformerConfig::deit_small(), 32, 100)
        }
        ("eigen_analyzer/networks/deit.py", "DeiT_tiny_imagenet") => {
            small(VisionTransformerConfig::deit_tiny(), 64, 200)
        }
        ("eigen_analyzer/networks/lenet.py", "LeNet5") => {
            Config::LeNet(LeNetConfig::lenet5().with_pooling(LeNetPooling::Max))
        }
        ("eigen_analyzer/networks/resnet_proper.py", "ResNet") => {
            Config::ResNet(ResNetConfig::resnet20(10))
        }
        ("nanogpt/model.py", "GPT") => Config::Gpt(GptConfig::new(50_304)),
        _ => {
            let (folder, file) = file.split_once("/models/")?;
            let classes = match folder {
                "cifar10" => 10,
                "cifar100" => 100,
                _ => return None,
            };
            return cifar_model(file, callable, classes);
        }
    })
}

/// The authors' networks for CIFAR. The classes `ResNet` and `DenseNet` take their blocks as arguments.
fn cifar_model(file: &str, callable: &str, classes: usize) -> Option<Config> {
    let resnet: fn(usize) -> ResNetConfig = match (file, callable) {
        ("resnet_cifar.py", "resnet20" | "ResNet") => ResNetConfig::resnet20,
        ("resnet_cifar.py", "resnet32") => ResNetConfig::resnet32,
        ("resnet_cifar.py", "resnet44") => ResNetConfig::resnet44,
        ("resnet_cifar.py", "resnet56") => ResNetConfig::resnet56,
        ("resnet_cifar.py", "resnet110") => ResNetConfig::resnet110,
        ("resnet_cifar.py", "resnet1202") => |classes| convolutional::thin(1202, classes),
        ("resnet.py", "ResNet18" | "ResNet") => ResNetConfig::resnet18_cifar,
        ("resnet.py", "ResNet34") => ResNetConfig::resnet34_cifar,
        ("resnet.py", "ResNet50") => ResNetConfig::resnet50_cifar,
        ("resnet.py", "ResNet101") => ResNetConfig::resnet101_cifar,
        ("resnet.py", "ResNet152") => ResNetConfig::resnet152_cifar,
        ("densenet.py", name) => return densenet_model(name, classes),
        ("wide_resnet.py", name) => return wide_model(name, classes),
        _ => return None,
    };

    Some(Config::ResNet(resnet(classes)))
}

fn densenet_model(name: &str, classes: usize) -> Option<Config> {
    let constructor = match name {
        "densenet_cifar" | "DenseNet" => DenseNetConfig::thin_cifar,
        "DenseNet121" => DenseNetConfig::densenet121_cifar,
        "DenseNet169" => DenseNetConfig::densenet169_cifar,
        "DenseNet201" => DenseNetConfig::densenet201_cifar,
        "DenseNet161" => DenseNetConfig::densenet161_cifar,
        _ => return None,
    };

    Some(Config::DenseNet(constructor(classes)))
}

/// A name like `wrn_28_10`, or the class, of which the depth is an argument; it has two names.
fn wide_model(name: &str, classes: usize) -> Option<Config> {
    let (depth, width) = match name {
        "WideResNet" | "Wide_ResNet" => (0, 1),
        name => {
            let (depth, width) = name.strip_prefix("wrn_")?.split_once('_')?;
            (depth.parse().ok()?, width.parse().ok()?)
        }
    };

    Some(Config::WideResNet(
        WideResNetConfig::new(depth, width).with_num_classes(classes),
    ))
}

/// The networks of timm and of torchvision. The class `ResNet` takes its blocks as arguments, and the defaults of `DenseNet` are
/// those of the smallest.
fn package_model(name: &str) -> Option<Config> {
    let bottlenecks = |blocks: [usize; 4]| ResNetConfig::new(blocks.into(), BlockKind::Bottleneck);
    let config = match name {
        "resnet18" | "ResNet" => ResNetConfig::resnet18(),
        "resnet34" => ResNetConfig::resnet34(),
        "resnet26" => bottlenecks([2, 2, 2, 2]),
        "resnet50" => ResNetConfig::resnet50(),
        "resnet101" => ResNetConfig::resnet101(),
        "resnet152" => ResNetConfig::resnet152(),
        "wide_resnet50_2" => ResNetConfig::resnet50().with_width(128),
        "wide_resnet101_2" => ResNetConfig::resnet101().with_width(128),
        "densenet121" | "DenseNet" => return Some(Config::DenseNet(DenseNetConfig::densenet121())),
        "densenet169" => return Some(Config::DenseNet(DenseNetConfig::densenet169())),
        "densenet201" => return Some(Config::DenseNet(DenseNetConfig::densenet201())),
        "densenet161" => return Some(Config::DenseNet(DenseNetConfig::densenet161())),
        _ => return None,
    };

    Some(Config::ResNet(config))
}

/// The transformers of timm: names like `deit_small_patch16_224` and `swin_tiny_patch4_window7_224`, and the two classes, whose
/// defaults are those of the base and of the smallest.
fn timm_model(name: &str) -> Option<Config> {
    let parts: Vec<&str> = name.split('_').collect();
    match parts.as_slice() {
        ["VisionTransformer"] => Some(Config::Deit(VisionTransformerConfig::deit_base())),
        ["SwinTransformer"] => Some(Config::Swin(SwinConfig::tiny())),
        ["deit" | "vit", size, patch, image] => {
            let patch = patch.strip_prefix("patch")?.parse().ok()?;
            let config = vit_of_size(size)?.with_patch_size(patch);
            let config = config.with_image_size([image.parse().ok()?; 2]);
            Some(Config::Deit(config))
        }
        ["swin", "s3", size, "224"] => Some(Config::Swin(searched_swin(size)?)),
        ["swin", size, patch, window, image] => {
            let patch = patch.strip_prefix("patch")?.parse().ok()?;
            let window = window.strip_prefix("window")?.parse().ok()?;
            let config = swin_of_size(size)?.with_patch_size([patch; 2]);
            let config = config.with_window_size([window; 2]);
            let config = config.with_image_size([image.parse().ok()?; 2]);
            Some(Config::Swin(config))
        }
        _ => None,
    }
}

fn vit_of_size(size: &str) -> Option<VisionTransformerConfig> {
    let of = |d_model, n_layers| VisionTransformerConfig::new(d_model, 16).with_n_layers(n_layers);

    Some(match size {
        "tiny" => VisionTransformerConfig::deit_tiny(),
        "small" => VisionTransformerConfig::deit_small(),
        "base" => VisionTransformerConfig::deit_base(),
        "large" => of(1024, 24),
        "huge" => of(1280, 32),
        "giant" => of(1408, 40).with_mlp_ratio(48.0 / 11.0),
        "gigantic" => of(1664, 48).with_mlp_ratio(64.0 / 13.0),
        _ => return None,
    })
}

fn swin_of_size(size: &str) -> Option<SwinConfig> {
    Some(match size {
        "tiny" => SwinConfig::tiny(),
        "small" => SwinConfig::small(),
        "base" => SwinConfig::base(),
        "large" => SwinConfig::large(),
        _ => return None,
    })
}

/// The networks whose windows were searched for, each stage's of its own size.
fn searched_swin(size: &str) -> Option<SwinConfig> {
    let (mut config, windows) = match size {
        "tiny" => (SwinConfig::tiny(), [7, 7, 14, 7]),
        "small" => (SwinConfig::small(), [14, 14, 14, 7]),
        "base" => (SwinConfig::small(), [7, 7, 14, 7]),
        _ => return None,
    };
    for (stage, window) in config.stages.iter_mut().zip(windows) {
        stage.window_size = [window; 2];
    }
    if size == "base" {
        config.stages[2].n_layers = 30;
    }

    Some(config)
}
