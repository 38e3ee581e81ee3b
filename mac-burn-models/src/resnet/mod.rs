//! ResNet: stages of blocks, each of which adds to what comes in.
//!
//! K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", 2015,
//! [arXiv:1512.03385](https://arxiv.org/abs/1512.03385). A block computes `relu(F(x) + shortcut(x))`; the paper calls the
//! shortcuts A, zeros for the channels that `x` does not have, and B, a projection wherever the shape changes.
//!
//! In one respect all definitions in use today differ from the paper, and so do these: the stride of a bottleneck is at its
//! 3×3 convolution. The stems are those of [`StemKind`](crate::convolution::StemKind).

mod basic_block;
mod block;
mod bottleneck;
mod config;
mod model;
mod names;
mod shortcut;
mod stage;
mod variants;

pub use basic_block::BasicBlock;
pub use block::{BlockKind, ResidualBlock};
pub use bottleneck::Bottleneck;
pub use config::ResNetConfig;
pub use model::ResNet;
pub use names::{authors_name, timm_name};
pub use shortcut::{Shortcut, ShortcutKind};
pub use stage::Stage;

#[cfg(test)]
mod tests;
