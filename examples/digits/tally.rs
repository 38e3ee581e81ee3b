//! How well a network does on the batches that it has seen.

use burn::tensor::backend::Backend;
use burn::tensor::{ElementConversion, Int, Tensor};
use mac_burn_examples::accuracy::correct;

/// Sums over batches, kept on the device: adding to them does not wait for it.
pub(crate) struct Tally<B: Backend> {
    loss: Tensor<B, 1>,
    correct: Tensor<B, 1, Int>,
    items: usize,
}

/// The means of a [`Tally`].
pub(crate) struct Score {
    pub(crate) loss: f64,
    /// In percent.
    pub(crate) accuracy: f64,
}

impl<B: Backend> Tally<B> {
    pub(crate) fn new(device: &B::Device) -> Self {
        Self {
            loss: Tensor::zeros([1], device),
            correct: Tensor::zeros([1], device),
            items: 0,
        }
    }

    /// Adds a batch: its mean loss, `[1]`, the logits, `[batch_size, classes]`, and the targets, `[batch_size]`.
    pub(crate) fn add(
        self,
        loss: Tensor<B, 1>,
        logits: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
    ) -> Self {
        let [items] = targets.dims();
        Self {
            loss: self.loss + loss * items as f64,
            correct: self.correct + correct(logits, targets),
            items: self.items + items,
        }
    }

    /// Waits for the device, and divides by the number of items.
    pub(crate) fn score(self) -> Score {
        let items = self.items as f64;
        Score {
            loss: self.loss.into_scalar().elem::<f64>() / items,
            accuracy: 100.0 * self.correct.into_scalar().elem::<f64>() / items,
        }
    }
}
