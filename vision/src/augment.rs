//! Changes of images before a network sees them: crops and other changes of one image, and mixtures of a batch.
//!
//! Nothing here draws from a generator of its own: who calls says where the numbers come from, so that they can depend
//! on the step and the place in its batch alone and a run can be continued.

mod automatic_augmentation;
mod center_crop;
mod enhancement;
mod image_operation;
mod interpolation;
mod mix;
mod mixing;
mod motion;
mod rand_augment;
mod random_erasing;
mod random_resized_crop;
mod random_window;
mod soft_targets;
mod tone;
mod training_images;
mod trivial_augment_wide;
mod validation_images;
mod warp;
mod window;

pub use automatic_augmentation::AutomaticAugmentation;
pub use center_crop::CenterCrop;
pub use enhancement::Enhancement;
pub use image_operation::ImageOperation;
pub use interpolation::Interpolation;
pub use mix::Mix;
pub use mixing::Mixing;
pub use motion::Motion;
pub use rand_augment::RandAugment;
pub use random_erasing::{Filling, RandomErasing};
pub use random_resized_crop::RandomResizedCrop;
pub use soft_targets::soft_targets;
pub use tone::Tone;
pub use training_images::TrainingImages;
pub use trivial_augment_wide::TrivialAugmentWide;
pub use validation_images::ValidationImages;
pub use warp::Warp;
pub use window::Window;
