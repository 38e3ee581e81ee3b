//! Weights that were published, by name (feature `import`).
//!
//! ```no_run
//! use burn::tensor::backend::Backend;
//! use mac_burn_models::VisionTransformer;
//! use mac_burn_models::import::ImportError;
//!
//! fn network<B: Backend>(device: &B::Device) -> Result<VisionTransformer<B>, ImportError> {
//!     VisionTransformer::pretrained("deit_tiny_patch16_224.fb_in1k", "model.safetensors", device)
//! }
//! ```
//!
//! [`RESNET`], [`DENSENET`], [`VISION_TRANSFORMER`] and [`SWIN`] are the known checkpoints of the families: whose file it is,
//! its number of classes, its licence, and its SHA-256 where that is public. A network gets its configuration and the names of
//! its tensors from there. Nothing is downloaded, and the hash is not computed: `sha256sum` does.
//!
//! Each repository `timm/NAME` of Hugging Face has a `model.safetensors` and the same weights as `pytorch_model.bin`. Those of
//! torchvision, of DeiT's authors and of Swin's are `.pth` files, which need the feature `pth`. All were trained on images that
//! are normalized by ImageNet's mean and standard deviation of each channel.
//!
//! Replace the head for another task:
//!
//! ```no_run
//! use burn::nn::LinearConfig;
//! use burn::tensor::backend::Backend;
//! use mac_burn_models::{ResNet, import::ImportError};
//!
//! fn for_ten_classes<B: Backend>(device: &B::Device) -> Result<ResNet<B>, ImportError> {
//!     let mut network = ResNet::pretrained("resnet50.a1_in1k", "model.safetensors", device)?;
//!     network.head = LinearConfig::new(2048, 10).init(device).into();
//!     Ok(network)
//! }
//! ```
//!
//! GPT-2 is not among them: the published weights are laid out otherwise, see [`import`](crate::import). There are no
//! entries for LeNet and the Wide ResNets for CIFAR.

use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;

use crate::import::{ImportError, load};
use crate::pytorch::Name;
use crate::{
    DenseNet, DenseNetConfig, ResNet, ResNetConfig, Swin, SwinConfig, VisionTransformer,
    VisionTransformerConfig,
};
use crate::{densenet, resnet, swin, vision_transformer};

/// Classes of ImageNet-1k.
const IMAGENET: usize = 1000;

/// Classes of ImageNet-22k, in timm's configuration of Swin's networks.
const IMAGENET_22K: usize = 21_841;

/// A published file of weights, and the network that it is of.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Checkpoint<C> {
    /// The name by which its publisher lists it.
    pub name: &'static str,
    /// The name of the published file.
    pub file: &'static str,
    /// Number of classes.
    pub num_classes: usize,
    /// The licence that the publisher states, as an SPDX identifier. The terms of the training data may add to it.
    pub license: &'static str,
    /// The SHA-256 of the file, or its first eight digits, as far as they are public.
    pub sha256: Option<&'static str>,
    /// Makes the configuration of the network.
    pub config: fn() -> C,
    /// The name that the file gives to the parameter at a path.
    pub pytorch_name: Name,
}

impl<C> Checkpoint<C> {
    /// A file of weights for 1000 classes, whose SHA-256 is not known.
    const fn new(
        name: &'static str,
        file: &'static str,
        license: &'static str,
        config: fn() -> C,
        pytorch_name: Name,
    ) -> Self {
        Self {
            name,
            file,
            num_classes: IMAGENET,
            license,
            sha256: None,
            config,
            pytorch_name,
        }
    }

    /// With this SHA-256, or the first digits of it.
    const fn with_sha256(self, sha256: &'static str) -> Self {
        Self {
            sha256: Some(sha256),
            ..self
        }
    }

    /// With this number of classes.
    const fn with_num_classes(self, num_classes: usize) -> Self {
        Self {
            num_classes,
            ..self
        }
    }

    /// The checkpoint of this name.
    fn named<'a>(checkpoints: &'a [Self], name: &str) -> Result<&'a Self, ImportError> {
        let mut known = checkpoints.iter();
        let found = known.find(|checkpoint| checkpoint.name == name);
        found.ok_or_else(|| ImportError::UnknownCheckpoint {
            name: name.to_owned(),
            known: checkpoints.iter().map(|known| known.name).collect(),
        })
    }

    /// The network of its configuration, with the weights of a file of it.
    fn load<B: Backend, M: Module<B>>(
        &self,
        path: impl AsRef<Path>,
        init: impl FnOnce(C) -> M,
    ) -> Result<M, ImportError> {
        load(init((self.config)()), path, self.pytorch_name)
    }
}

/// A file of timm's on Hugging Face.
const fn timm<C>(
    name: &'static str,
    license: &'static str,
    config: fn() -> C,
    pytorch_name: Name,
) -> Checkpoint<C> {
    Checkpoint::new(name, "model.safetensors", license, config, pytorch_name)
}

const APACHE: &str = "Apache-2.0";
const BSD: &str = "BSD-3-Clause";
const MIT: &str = "MIT";

/// The checkpoints of [`ResNet`].
///
/// From the repositories `timm/NAME` of Hugging Face: licence on each repository's page, SHA-256 on the page of the file. From
/// torchvision 0.13 and later: `torchvision/models/resnet.py`, where the file's name has the first digits of its SHA-256;
/// timm gives torchvision's licence for the same weights.
pub const RESNET: &[Checkpoint<ResNetConfig>] = &[
    timm_resnet("resnet18.a1_in1k", APACHE, ResNetConfig::resnet18)
        .with_sha256("80c49dee3da4822c009c5a7fe591e9223c5a2cfcf95a4067ca4dfb5a7b89c612"),
    timm_resnet("resnet18.tv_in1k", BSD, ResNetConfig::resnet18)
        .with_sha256("694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81"),
    timm_resnet("resnet50.a1_in1k", APACHE, ResNetConfig::resnet50)
        .with_sha256("773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb"),
    timm_resnet("resnet50.tv_in1k", BSD, ResNetConfig::resnet50)
        .with_sha256("5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888"),
    timm_resnet("resnet101.a1h_in1k", APACHE, ResNetConfig::resnet101)
        .with_sha256("1a076c0384295e7d3704f201c5711ff245507db934230bab72ff3014a95f90fe"),
    timm_resnet("resnet101.tv_in1k", BSD, ResNetConfig::resnet101),
    timm_resnet("resnet152.a1_in1k", APACHE, ResNetConfig::resnet152),
    timm_resnet("resnet152.tv_in1k", BSD, ResNetConfig::resnet152),
    timm_resnet("resnet152.tv2_in1k", BSD, ResNetConfig::resnet152),
    timm_resnet("wide_resnet50_2.tv_in1k", BSD, wide_resnet50_2),
    timm_resnet("wide_resnet50_2.tv2_in1k", BSD, wide_resnet50_2),
    torchvision_resnet(
        "ResNet18_Weights.IMAGENET1K_V1",
        "resnet18-f37072fd.pth",
        "f37072fd",
        ResNetConfig::resnet18,
    ),
    torchvision_resnet(
        "ResNet34_Weights.IMAGENET1K_V1",
        "resnet34-b627a593.pth",
        "b627a593",
        ResNetConfig::resnet34,
    ),
    torchvision_resnet(
        "ResNet50_Weights.IMAGENET1K_V1",
        "resnet50-0676ba61.pth",
        "0676ba61",
        ResNetConfig::resnet50,
    ),
    torchvision_resnet(
        "ResNet50_Weights.IMAGENET1K_V2",
        "resnet50-11ad3fa6.pth",
        "11ad3fa6",
        ResNetConfig::resnet50,
    ),
    torchvision_resnet(
        "ResNet101_Weights.IMAGENET1K_V1",
        "resnet101-63fe2227.pth",
        "63fe2227",
        ResNetConfig::resnet101,
    ),
    torchvision_resnet(
        "ResNet101_Weights.IMAGENET1K_V2",
        "resnet101-cd907fc2.pth",
        "cd907fc2",
        ResNetConfig::resnet101,
    ),
    torchvision_resnet(
        "ResNet152_Weights.IMAGENET1K_V1",
        "resnet152-394f9c45.pth",
        "394f9c45",
        ResNetConfig::resnet152,
    ),
    torchvision_resnet(
        "ResNet152_Weights.IMAGENET1K_V2",
        "resnet152-f82ba261.pth",
        "f82ba261",
        ResNetConfig::resnet152,
    ),
    torchvision_resnet(
        "Wide_ResNet50_2_Weights.IMAGENET1K_V1",
        "wide_resnet50_2-95faca4d.pth",
        "95faca4d",
        wide_resnet50_2,
    ),
    torchvision_resnet(
        "Wide_ResNet50_2_Weights.IMAGENET1K_V2",
        "wide_resnet50_2-9ba9bcbe.pth",
        "9ba9bcbe",
        wide_resnet50_2,
    ),
];

const fn timm_resnet(
    name: &'static str,
    license: &'static str,
    config: fn() -> ResNetConfig,
) -> Checkpoint<ResNetConfig> {
    timm(name, license, config, resnet::timm_name)
}

const fn torchvision_resnet(
    name: &'static str,
    file: &'static str,
    sha256: &'static str,
    config: fn() -> ResNetConfig,
) -> Checkpoint<ResNetConfig> {
    Checkpoint::new(name, file, BSD, config, resnet::timm_name).with_sha256(sha256)
}

/// WRN-50-2 of the paper on wide residual networks.
fn wide_resnet50_2() -> ResNetConfig {
    ResNetConfig::resnet50().with_width(128)
}

/// The checkpoints of [`DenseNet`].
///
/// From the repositories `timm/NAME` of Hugging Face, as [`RESNET`], and from torchvision: `torchvision/models/densenet.py`.
/// torchvision's files have older names of layers, `norm.1` for `norm1`, which are read as the newer ones.
pub const DENSENET: &[Checkpoint<DenseNetConfig>] = &[
    timm_densenet("densenet121.ra_in1k", DenseNetConfig::densenet121),
    timm_densenet("densenet121.tv_in1k", DenseNetConfig::densenet121)
        .with_sha256("c894c6d9caa317a8ca1942986dee7a16a86c77734a4d691d2abe05389cfef358"),
    timm_densenet("densenet169.tv_in1k", DenseNetConfig::densenet169),
    timm_densenet("densenet201.tv_in1k", DenseNetConfig::densenet201),
    timm_densenet("densenet161.tv_in1k", DenseNetConfig::densenet161),
    torchvision_densenet(
        "DenseNet121_Weights.IMAGENET1K_V1",
        "densenet121-a639ec97.pth",
        "a639ec97",
        DenseNetConfig::densenet121,
    ),
    torchvision_densenet(
        "DenseNet169_Weights.IMAGENET1K_V1",
        "densenet169-b2777c0a.pth",
        "b2777c0a",
        DenseNetConfig::densenet169,
    ),
    torchvision_densenet(
        "DenseNet201_Weights.IMAGENET1K_V1",
        "densenet201-c1103571.pth",
        "c1103571",
        DenseNetConfig::densenet201,
    ),
    torchvision_densenet(
        "DenseNet161_Weights.IMAGENET1K_V1",
        "densenet161-8d451a50.pth",
        "8d451a50",
        DenseNetConfig::densenet161,
    ),
];

const fn timm_densenet(
    name: &'static str,
    config: fn() -> DenseNetConfig,
) -> Checkpoint<DenseNetConfig> {
    timm(name, APACHE, config, densenet::timm_name)
}

const fn torchvision_densenet(
    name: &'static str,
    file: &'static str,
    sha256: &'static str,
    config: fn() -> DenseNetConfig,
) -> Checkpoint<DenseNetConfig> {
    Checkpoint::new(name, file, BSD, config, densenet::timm_name).with_sha256(sha256)
}

/// The checkpoints of [`VisionTransformer`]: DeiT without distillation.
///
/// From the repositories `timm/NAME` of Hugging Face, as [`RESNET`], and from DeiT's authors: the files and the licence are in
/// `README_deit.md` of `facebookresearch/deit`, and the names of the files have the first digits of their SHA-256.
pub const VISION_TRANSFORMER: &[Checkpoint<VisionTransformerConfig>] = &[
    timm_deit(
        "deit_tiny_patch16_224.fb_in1k",
        VisionTransformerConfig::deit_tiny,
    )
    .with_sha256("21d4764d94f6c3ffdb6da3581115a0a1ee2d505537d96883b540e54766407c9e"),
    timm_deit(
        "deit_small_patch16_224.fb_in1k",
        VisionTransformerConfig::deit_small,
    ),
    timm_deit(
        "deit_base_patch16_224.fb_in1k",
        VisionTransformerConfig::deit_base,
    ),
    facebook_deit(
        "deit_tiny_patch16_224",
        "deit_tiny_patch16_224-a1311bcf.pth",
        "a1311bcf",
        VisionTransformerConfig::deit_tiny,
    ),
    facebook_deit(
        "deit_small_patch16_224",
        "deit_small_patch16_224-cd65a155.pth",
        "cd65a155",
        VisionTransformerConfig::deit_small,
    ),
    facebook_deit(
        "deit_base_patch16_224",
        "deit_base_patch16_224-b5f2ef4d.pth",
        "b5f2ef4d",
        VisionTransformerConfig::deit_base,
    ),
    facebook_deit(
        "deit_base_patch16_384",
        "deit_base_patch16_384-8de9b5d1.pth",
        "8de9b5d1",
        deit_base_384,
    ),
];

const fn timm_deit(
    name: &'static str,
    config: fn() -> VisionTransformerConfig,
) -> Checkpoint<VisionTransformerConfig> {
    timm(name, APACHE, config, vision_transformer::timm_name)
}

const fn facebook_deit(
    name: &'static str,
    file: &'static str,
    sha256: &'static str,
    config: fn() -> VisionTransformerConfig,
) -> Checkpoint<VisionTransformerConfig> {
    Checkpoint::new(name, file, APACHE, config, vision_transformer::timm_name).with_sha256(sha256)
}

fn deit_base_384() -> VisionTransformerConfig {
    VisionTransformerConfig::deit_base().with_image_size([384, 384])
}

/// The checkpoints of [`Swin`].
///
/// From the repositories `timm/NAME` of Hugging Face, as [`RESNET`], and from Swin's authors: the files are in the `README.md`
/// and `MODELHUB.md` of `microsoft/Swin-Transformer`, whose licence is MIT's. The authors publish no hashes.
pub const SWIN: &[Checkpoint<SwinConfig>] = &[
    timm_swin("swin_tiny_patch4_window7_224.ms_in1k", SwinConfig::tiny),
    timm_swin(
        "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k",
        SwinConfig::tiny,
    ),
    timm_swin("swin_tiny_patch4_window7_224.ms_in22k", swin_tiny_22k)
        .with_num_classes(IMAGENET_22K),
    timm_swin("swin_small_patch4_window7_224.ms_in1k", SwinConfig::small),
    timm_swin("swin_base_patch4_window7_224.ms_in1k", SwinConfig::base),
    timm_swin(
        "swin_base_patch4_window7_224.ms_in22k_ft_in1k",
        SwinConfig::base,
    ),
    microsoft_swin(
        "swin_tiny_patch4_window7_224",
        "swin_tiny_patch4_window7_224.pth",
        SwinConfig::tiny,
    ),
    microsoft_swin(
        "swin_small_patch4_window7_224",
        "swin_small_patch4_window7_224.pth",
        SwinConfig::small,
    ),
    microsoft_swin(
        "swin_base_patch4_window7_224",
        "swin_base_patch4_window7_224.pth",
        SwinConfig::base,
    ),
    microsoft_swin(
        "swin_base_patch4_window12_384",
        "swin_base_patch4_window12_384.pth",
        swin_base_384,
    ),
    microsoft_swin(
        "swin_base_patch4_window7_224_22kto1k",
        "swin_base_patch4_window7_224_22kto1k.pth",
        SwinConfig::base,
    ),
    microsoft_swin(
        "swin_base_patch4_window12_384_22kto1k",
        "swin_base_patch4_window12_384_22kto1k.pth",
        swin_base_384,
    ),
    microsoft_swin(
        "swin_large_patch4_window7_224_22kto1k",
        "swin_large_patch4_window7_224_22kto1k.pth",
        SwinConfig::large,
    ),
    microsoft_swin(
        "swin_large_patch4_window12_384_22kto1k",
        "swin_large_patch4_window12_384_22kto1k.pth",
        swin_large_384,
    ),
];

const fn timm_swin(name: &'static str, config: fn() -> SwinConfig) -> Checkpoint<SwinConfig> {
    timm(name, MIT, config, swin::timm_name)
}

const fn microsoft_swin(
    name: &'static str,
    file: &'static str,
    config: fn() -> SwinConfig,
) -> Checkpoint<SwinConfig> {
    Checkpoint::new(name, file, MIT, config, swin::microsoft_name)
}

fn swin_tiny_22k() -> SwinConfig {
    SwinConfig::tiny().with_num_classes(IMAGENET_22K)
}

fn swin_base_384() -> SwinConfig {
    for_larger_images(SwinConfig::base())
}

fn swin_large_384() -> SwinConfig {
    for_larger_images(SwinConfig::large())
}

/// The paper's network for images of 384×384, in windows of 12×12.
fn for_larger_images(config: SwinConfig) -> SwinConfig {
    config
        .with_image_size([384, 384])
        .with_window_size([12, 12])
}

impl<B: Backend> ResNet<B> {
    /// The network of a published checkpoint, with the weights of a file of it. [`RESNET`] lists the names.
    ///
    /// # Errors
    /// If no checkpoint has this name, and as [`load`].
    pub fn pretrained(
        name: &str,
        path: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<Self, ImportError> {
        let checkpoint = Checkpoint::named(RESNET, name)?;
        checkpoint.load(path, |config| config.init(device))
    }
}

impl<B: Backend> DenseNet<B> {
    /// The network of a published checkpoint, with the weights of a file of it. [`DENSENET`] lists the names.
    ///
    /// # Errors
    /// If no checkpoint has this name, and as [`load`].
    pub fn pretrained(
        name: &str,
        path: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<Self, ImportError> {
        let checkpoint = Checkpoint::named(DENSENET, name)?;
        checkpoint.load(path, |config| config.init(device))
    }
}

impl<B: Backend> VisionTransformer<B> {
    /// The network of a published checkpoint, with the weights of a file of it. [`VISION_TRANSFORMER`] lists the names.
    ///
    /// # Errors
    /// If no checkpoint has this name, and as [`load`].
    pub fn pretrained(
        name: &str,
        path: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<Self, ImportError> {
        let checkpoint = Checkpoint::named(VISION_TRANSFORMER, name)?;
        checkpoint.load(path, |config| config.init(device))
    }
}

impl<B: Backend> Swin<B> {
    /// The network of a published checkpoint, with the weights of a file of it. [`SWIN`] lists the names.
    ///
    /// # Errors
    /// If no checkpoint has this name, and as [`load`].
    pub fn pretrained(
        name: &str,
        path: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<Self, ImportError> {
        let checkpoint = Checkpoint::named(SWIN, name)?;
        checkpoint.load(path, |config| config.init(device))
    }
}

#[cfg(test)]
mod tests;
