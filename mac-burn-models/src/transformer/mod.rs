//! What the transformers of this crate share.

mod by_rows;
mod drop_path;
mod feed_forward;
mod gelu;
mod normal_linear;

pub use drop_path::DropPath;
pub use feed_forward::FeedForward;
pub use gelu::Gelu;

pub(crate) use by_rows::by_rows;
pub(crate) use normal_linear::normal_linear;
