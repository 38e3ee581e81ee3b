//! What the transformers of this crate share.

mod drop_path;
mod feed_forward;
mod gelu;
mod normal_linear;

pub use drop_path::DropPath;
pub use feed_forward::FeedForward;
pub use gelu::Gelu;

pub(crate) use normal_linear::normal_linear;
