//! What is done to images before a network sees them: crops of one image, and mixtures of a batch.
//!
//! Nothing here draws from a generator of its own: who calls says where the numbers come from, so that they can depend
//! on the epoch and the image alone and a run can be continued.

mod center_crop;
mod mix;
mod mixed_batch;
mod mixing;
mod normalization;
mod random_resized_crop;
mod soft_targets;
mod training_batcher;
mod validation_batcher;
mod window;

pub use center_crop::CenterCrop;
pub use mix::Mix;
pub use mixed_batch::MixedBatch;
pub use mixing::Mixing;
pub use normalization::Normalization;
pub use random_resized_crop::RandomResizedCrop;
pub use soft_targets::soft_targets;
pub use training_batcher::TrainingBatcher;
pub use validation_batcher::ValidationBatcher;
pub use window::Window;
