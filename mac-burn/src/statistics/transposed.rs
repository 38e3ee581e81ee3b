//! The inputs of a transposed convolution, whose weight acts on the channels of one position at a time:
//!
//! ```text
//! y[o, s i + d k - p] += Σ_c x[c, i] W[c, o, k]
//! ```

use super::activation_sums::{ActivationSums, Rows};
use super::second_moments::SampleRows;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The channels of each position of images, by group: a row is a position.
///
/// # Shapes
///
/// - images: `[batch, channels, depth, height, width]`
pub(super) fn positions<B: Backend>(images: Tensor<B, 5>, groups: usize) -> SampleRows<B> {
    let [batch, channels, lengths @ ..] = images.dims();
    let places = lengths.iter().product();
    let by_channel = images.reshape([batch, groups, channels / groups, places]);
    SampleRows {
        values: by_channel.permute([1, 0, 3, 2]),
        valid: None,
    }
}

/// The sum of the channels over batch and positions.
pub(super) fn position_sums<B: Backend>(images: Tensor<B, 5>, groups: usize) -> ActivationSums<B> {
    let [batch, channels, lengths @ ..] = images.dims();
    let places = lengths.iter().product();
    let sum = |images: Tensor<B, 5>| {
        let by_channel = images.sum_dim(0).reshape([channels, places]).sum_dim(1);
        by_channel.reshape([groups, channels / groups])
    };
    ActivationSums {
        squares: sum(images.clone().square()),
        inputs: sum(images),
        rows: Rows::Counted(batch * places),
    }
}
