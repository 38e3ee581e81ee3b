//! Networks for Burn whose layers are recorded, so that [MAC](mac_burn) can precondition them.
//!
//! Each is made like a module of Burn, with a `Config` and its `init`, and is stored like one: the record of a network is
//! that of the same network made of plain layers.
//!
//! # Features
//!
//! Two modules bring further dependencies and are there when asked for: `import` loads weights that PyTorch stored, and
//! `export` stores them for it, both with `.safetensors` files. `pth` is `import` that also reads what `torch.save` wrote.

pub mod convolution;
pub mod deit;
pub mod densenet;
#[cfg(feature = "export")]
pub mod export;
pub mod gpt;
mod image_size;
#[cfg(feature = "import")]
pub mod import;
pub mod lenet;
pub mod mlp;
pub mod pytorch;
pub mod resnet;
pub mod swin;
pub mod transformer;
pub mod wide_resnet;

pub use deit::{Deit, DeitConfig};
pub use densenet::{DenseNet, DenseNetConfig};
pub use gpt::{Gpt, GptConfig};
pub use lenet::{LeNet, LeNetConfig};
pub use mlp::{Mlp, MlpConfig};
pub use resnet::{ResNet, ResNetConfig};
pub use swin::{Swin, SwinConfig, SwinStageConfig};
pub use wide_resnet::{WideResNet, WideResNetConfig};

#[cfg(test)]
mod testing;
