//! Images that are so small that all of them are held in memory, and how training changes them.
//!
//! The changes are those of the authors' code for CIFAR: a random crop of the image in a frame of zeros, a flip of every
//! second image, and a normalization of each channel.

mod augmentation;
mod normalization;
mod small_image;
mod small_images_batcher;

pub use augmentation::Augmentation;
pub use normalization::Normalization;
pub use small_image::{ImageShape, SmallImage};
pub use small_images_batcher::SmallImagesBatcher;
