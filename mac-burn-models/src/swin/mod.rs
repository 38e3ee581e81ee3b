//! Swin Transformer: attention within windows of an image, which every second block shifts, and stages between which the
//! image gets coarser.
//!
//! Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
//! [arXiv:2103.14030](https://arxiv.org/abs/2103.14030). The parts are those of timm's `SwinTransformer`, from which the networks
//! of the MAC paper are made; there, patches are merged at the start of a stage and not at the end of the one before.
//!
//! Where windows do not divide the map, it is filled up with zeros at the bottom and on the right. As in timm these take
//! part in the attention; they count in no mean that a recorder takes.

mod block;
mod config;
mod model;
mod names;
mod patch_embedding;
mod patch_merging;
mod relative_position_bias;
mod shift_mask;
mod stage;
mod stage_config;
mod window_attention;
mod windows;

pub use block::SwinBlock;
pub use config::SwinConfig;
pub use model::Swin;
pub use names::timm_name;
pub use patch_embedding::SwinPatchEmbedding;
pub use patch_merging::PatchMerging;
pub use relative_position_bias::RelativePositionBias;
pub use stage::SwinStage;
pub use stage_config::SwinStageConfig;
pub use window_attention::WindowAttention;
pub use windows::Windows;

#[cfg(test)]
mod tests;
