//! Shared parts of the examples of image classification: data sets, changes of images, batches that threads make, and networks
//! by name.

pub mod augment;
pub mod batches;
pub mod cifar;
mod image_task;
pub mod networks;
mod normalization;
pub mod small_images;

pub use image_task::{ImageBatches, ImageTask};
pub use normalization::Normalization;
