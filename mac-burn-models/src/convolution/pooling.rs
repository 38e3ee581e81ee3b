use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The mean of each channel over all positions.
///
/// # Shapes
/// - input: `[batch_size, channels, height, width]`
/// - output: `[batch_size, channels]`
pub(crate) fn mean_over_positions<B: Backend>(input: Tensor<B, 4>) -> Tensor<B, 2> {
    input.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2)
}
