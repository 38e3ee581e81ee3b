//! DenseNet: layers that see the outputs of all layers before them.
//!
//! G. Huang, Z. Liu, L. van der Maaten and K. Q. Weinberger, "Densely Connected Convolutional Networks", 2016,
//! [arXiv:1608.06993](https://arxiv.org/abs/1608.06993), in the form DenseNet-BC: a layer has a bottleneck, and a transition
//! between two blocks has fewer channels than go into it.

mod block;
mod config;
mod layer;
mod model;
mod names;
mod transition;
mod variants;

pub use block::DenseBlock;
pub use config::DenseNetConfig;
pub use layer::{Concatenation, DenseLayer};
pub use model::DenseNet;
pub use names::{authors_name, timm_name};
pub use transition::Transition;

#[cfg(test)]
mod tests;
