//! ViT and DeiT: a transformer over the patches of an image.
//!
//! A. Dosovitskiy et al., "An Image is Worth 16x16 Words", [arXiv:2010.11929](https://arxiv.org/abs/2010.11929); H. Touvron et
//! al., "Training data-efficient image transformers", [arXiv:2012.12877](https://arxiv.org/abs/2012.12877), without the
//! distillation token. The parts are those of timm's `VisionTransformer`, from which the networks of the MAC paper are made.

mod block;
mod config;
mod model;
mod names;
mod patch_embedding;

pub use block::DeitBlock;
pub use config::DeitConfig;
pub use model::Deit;
pub use names::{authors_name, timm_name};
pub use patch_embedding::PatchEmbedding;

#[cfg(test)]
mod tests;
