use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// Some images that may be mixed, with the probabilities of their classes.
#[derive(Clone, Debug)]
pub struct MixedBatch<B: Backend> {
    /// The standardised pixels, `[batch_size, channels, height, width]`.
    pub images: Tensor<B, 4>,
    /// The probabilities, `[batch_size, classes]`.
    pub targets: Tensor<B, 2>,
    /// The class of the larger share in each image, `[batch_size]`.
    pub labels: Tensor<B, 1, Int>,
}
