//! Wide ResNet: residual networks that are less deep and wider.
//!
//! S. Zagoruyko and N. Komodakis, "Wide Residual Networks", 2016, [arXiv:1605.07146](https://arxiv.org/abs/1605.07146). A
//! network WRN-d-k has `d` layers and `k` times the channels of a [`ResNet`](crate::ResNet) for CIFAR. Its blocks normalize
//! first, as in K. He et al., "Identity Mappings in Deep Residual Networks",
//! [arXiv:1603.05027](https://arxiv.org/abs/1603.05027).
//!
//! These are the paper's networks for CIFAR. Its WRN-50-2 for ImageNet is a [`ResNet`](crate::ResNet) with a
//! [`width`](crate::ResNetConfig::width).

mod block;
mod config;
mod group;
mod model;
mod names;

pub use block::WideBlock;
pub use config::WideResNetConfig;
pub use group::WideGroup;
pub use model::WideResNet;
pub use names::authors_name;

#[cfg(test)]
mod tests;
