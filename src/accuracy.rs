//! How often a classifier is right.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// Counts the rows whose largest logit is that of the target; the count stays on the device.
///
/// # Shapes
/// - `logits`: `[batch_size, classes]`
/// - `targets`: `[batch_size]`
/// - output: `[1]`
pub fn correct<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1, Int> {
    logits
        .argmax(1)
        .squeeze_dim::<1>(1)
        .equal(targets)
        .int()
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;

    #[test]
    fn counts_the_rows_whose_largest_logit_is_the_target() {
        let device = Default::default();
        let logits = Tensor::<Selected, 2>::from_floats(
            [[2.0, 1.0, 0.0], [0.0, -1.0, 3.0], [0.0, 5.0, 4.0]],
            &device,
        );
        let targets = Tensor::from_ints([0, 1, 1], &device);

        assert_eq!(correct(logits, targets).into_scalar(), 2);
    }
}
