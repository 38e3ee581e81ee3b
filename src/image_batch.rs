//! Batches of images with their classes.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// Some images with their classes.
#[derive(Clone, Debug)]
pub struct ImageBatch<B: Backend> {
    /// The standardised pixels, `[batch_size, channels, height, width]`.
    pub images: Tensor<B, 4>,
    /// The classes, `[batch_size]`.
    pub targets: Tensor<B, 1, Int>,
}
