//! Networks for Burn whose layers are recorded, so that [MAC](mac_burn) can precondition them.
//!
//! Each is made like a module of Burn, with a `Config` and its `init`, and is stored like one: the record of a network is
//! that of the same network made of plain layers.
//!
//! # Recorded or plain
//!
//! A network is defined once. Its layers are recorded, as MAC needs them; [`unrecorded`](mac_burn::unrecorded) makes the plain
//! network of it, with the same parameters, the same outputs bit for bit, and nothing that an optimizer could find:
//!
//! ```
//! use burn::optim::{GradientsParams, Optimizer};
//! use burn::tensor::Tensor;
//! use mac_burn::{MacConfig, unrecorded};
//! use mac_burn_models::{LeNet, LeNetConfig};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//!
//! let network: LeNet<B> = LeNetConfig::new([8, 8]).init(&device);
//! let images = Tensor::ones([2, 1, 8, 8], &device);
//! let logits = network.forward(images.clone());
//!
//! let mut plain = unrecorded(network);
//! let plain_logits = plain.forward(images);
//! assert_eq!(plain_logits.to_data(), logits.to_data());
//!
//! // One of Burn's optimizers would be here; to MAC the network has no layer that it could precondition.
//! let mut optim = MacConfig::new().init();
//! let grads = GradientsParams::from_grads(plain_logits.sum().backward(), &plain);
//! plain = optim.step(0.1, plain, grads);
//! assert_eq!(optim.report(&plain).covered_parameters, 0);
//! ```
//!
//! # Pretrained weights
//!
//! With the feature `import`, `ResNet`, `DenseNet`, `VisionTransformer` and `Swin` load the files that timm, torchvision and
//! the papers' authors published; `pretrained` lists them with their licences. Nothing is downloaded.
//!
#![cfg_attr(feature = "import", doc = "```no_run")]
#![cfg_attr(not(feature = "import"), doc = "```text")]
//! use mac_burn_models::ResNet;
//! # type B = burn::backend::Flex;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let device = Default::default();
//! let network: ResNet<B> = ResNet::pretrained("resnet50.a1_in1k", "model.safetensors", &device)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! Modules with further dependencies are there when asked for: `import` loads weights that PyTorch stored, and `export` stores
//! them for it, both with `.safetensors` files. `pth` is `import` that also reads what `torch.save` wrote.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod activation;
pub mod convolution;
pub mod densenet;
#[cfg(feature = "export")]
pub mod export;
pub mod gpt;
#[cfg(feature = "import")]
pub mod import;
pub mod lenet;
mod limits;
pub mod mlp;
#[cfg(feature = "import")]
pub mod pretrained;
pub mod pytorch;
pub mod resnet;
pub mod swin;
pub mod transformer;
pub mod vision_transformer;
pub mod wide_resnet;

pub use activation::Activation;
pub use densenet::{DenseNet, DenseNetConfig};
pub use gpt::{Gpt, GptConfig};
pub use lenet::{LeNet, LeNetConfig};
pub use mlp::{Mlp, MlpConfig};
pub use resnet::{ResNet, ResNetConfig};
pub use swin::{Swin, SwinConfig, SwinStageConfig};
pub use vision_transformer::{VisionTransformer, VisionTransformerConfig};
pub use wide_resnet::{WideResNet, WideResNetConfig};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

/// The programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
