//! Shared parts of the examples of image classification: data sets, changes of images, and batches that threads make.

pub mod augment;
mod augmented_images;
pub mod batches;
pub mod cifar;
mod image_task;

pub use augmented_images::{Augmentation, AugmentedImages};
pub use image_task::{ImageBatches, ImageTask};
