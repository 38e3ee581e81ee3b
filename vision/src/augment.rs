//! Changes of images before a network sees them: crops and other changes of one image, and mixtures of a batch.
//!
//! Nothing here draws from a generator of its own: who calls says where the numbers come from, so that they can depend
//! on the epoch, the image and its repeat alone and a run can be continued.

mod automatic_augmentation;
mod center_crop;
mod enhancement;
mod host_batch;
mod image_operation;
mod interpolation;
mod mix;
mod mixed_batch;
mod mixing;
mod motion;
mod normalization;
mod rand_augment;
mod random_erasing;
mod random_resized_crop;
mod random_window;
mod soft_targets;
mod tone;
mod training_batcher;
mod trivial_augment_wide;
mod validation_batcher;
mod warp;
mod window;

pub use automatic_augmentation::AutomaticAugmentation;
pub use center_crop::CenterCrop;
pub use enhancement::Enhancement;
pub use host_batch::HostBatch;
pub use image_operation::ImageOperation;
pub use interpolation::Interpolation;
pub use mix::Mix;
pub use mixed_batch::MixedBatch;
pub use mixing::Mixing;
pub use motion::Motion;
pub use normalization::Normalization;
pub use rand_augment::RandAugment;
pub use random_erasing::{Filling, RandomErasing};
pub use random_resized_crop::RandomResizedCrop;
pub use soft_targets::soft_targets;
pub use tone::Tone;
pub use training_batcher::TrainingBatcher;
pub use trivial_augment_wide::TrivialAugmentWide;
pub use validation_batcher::ValidationBatcher;
pub use warp::Warp;
pub use window::Window;
