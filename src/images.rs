//! Data sets of images, and their batches.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

pub mod digits;
#[cfg(feature = "images")]
pub mod files;
#[cfg(feature = "images")]
pub mod folder;
mod host_batch;
pub mod idx;
#[cfg(feature = "images")]
pub mod mnist;
mod normalization;

pub use host_batch::HostBatch;
pub use normalization::Normalization;

/// An image in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The values of each channel in turn, row by row: `[channels, size, size]`.
    pub pixels: Vec<u8>,
    /// Its class.
    pub label: usize,
}

/// As many images of a list at most, spread over all of it: folders list their images class by class.
pub fn spread(images: &[Image], most: usize) -> impl Iterator<Item = &Image> {
    let count = images.len().min(most);
    (0..count).map(move |place| &images[place * images.len() / count])
}

/// The shape that all images of a set have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Height and width.
    pub size: usize,
    /// The number of channels.
    pub channels: usize,
    /// The number of classes.
    pub classes: usize,
}

/// A data set of images that are so small that all of them are held in memory.
#[derive(Clone, Debug)]
pub struct Images {
    /// The images to train on.
    pub train: Vec<Image>,
    /// The images to validate on.
    pub valid: Vec<Image>,
    /// Their shape.
    pub shape: ImageShape,
    /// The normalization of pixels.
    pub normalization: Normalization,
}

/// Some images with their classes.
#[derive(Clone, Debug)]
pub struct ImageBatch<B: Backend> {
    /// The normalized pixels, `[batch_size, channels, height, width]`.
    pub images: Tensor<B, 4>,
    /// The classes, `[batch_size]`.
    pub targets: Tensor<B, 1, Int>,
}

impl Images {
    /// A batch of these images, which are of this set.
    pub fn batch<'a, B: Backend>(
        &self,
        images: impl IntoIterator<Item = &'a Image>,
        device: &B::Device,
    ) -> ImageBatch<B> {
        let mut batch = self.empty_batch(0);
        for image in images {
            self.push(&image.pixels, image.label, &mut batch);
        }
        batch.into_batch(device)
    }

    /// A batch of images of this set's shape, with room for as many.
    pub fn empty_batch(&self, images: usize) -> HostBatch {
        let ImageShape { size, channels, .. } = self.shape;
        HostBatch::new([channels, size, size], images)
    }

    /// Adds the normalized pixels of an image to a batch.
    ///
    /// # Panics
    /// If the image is of another size.
    pub fn push(&self, pixels: &[u8], label: usize, batch: &mut HostBatch) {
        batch.push(label, |values| self.normalization.append(pixels, values));
    }
}
