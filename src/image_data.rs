//! Data sets of images, and their batches.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// A data set, and what makes batches of its items.
pub struct ImageData<D, Bt> {
    /// The images to train on.
    pub train: D,
    /// The images to validate on.
    pub valid: D,
    /// Makes batches of both.
    pub batcher: Bt,
}

/// Some images with their classes.
#[derive(Clone, Debug)]
pub struct ImageBatch<B: Backend> {
    /// The standardised pixels, `[batch_size, channels, height, width]`.
    pub images: Tensor<B, 4>,
    /// The classes, `[batch_size]`.
    pub targets: Tensor<B, 1, Int>,
}
