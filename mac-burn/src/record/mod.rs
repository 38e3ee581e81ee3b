//! Recording: what the forward passes saw.

pub(crate) mod collector;
mod conv2d;
pub(crate) mod layer;
mod linear;
mod recorded;
mod recorder;
pub(crate) mod statistics;

pub use conv2d::MacConv2d;
pub use linear::MacLinear;
pub use recorded::{Recorded, RecordedLayer};
pub use recorder::Recorder;
