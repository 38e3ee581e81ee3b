use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::backend::Backend;
use burn::tensor::{ElementConversion, Int, Tensor};

use crate::training::Validation;

/// The performance of a classifier over some batches.
#[derive(Clone, Debug, Default)]
pub struct Classified {
    loss: f64,
    right: i64,
    items: usize,
}

impl Classified {
    /// Adds a batch.
    ///
    /// # Shapes
    /// - `logits`: `[batch_size, classes]`
    /// - `targets`: `[batch_size]`, the classes
    pub fn add<B: Backend>(&mut self, logits: Tensor<B, 2>, targets: Tensor<B, 1, Int>) {
        let [items] = targets.dims();
        let right = correct(logits.clone(), targets.clone()).into_scalar();
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits, targets);
        self.loss += loss.into_scalar().elem::<f64>() * items as f64;
        self.right += right.elem::<i64>();
        self.items += items;
    }

    /// The performance over all of them.
    pub fn validation(&self) -> Validation {
        let items = self.items.max(1) as f64;
        Validation {
            loss: self.loss / items,
            accuracy: Some(100.0 * self.right as f64 / items),
        }
    }
}

/// The number of rows whose largest logit is that of the target, `[1]`, which is not waited for.
///
/// # Shapes
/// - `logits`: `[batch_size, classes]`
/// - `targets`: `[batch_size]`, the classes
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

    /// Breaks when a small batch has the weight of a large one, or a row is counted by another than its largest logit.
    #[test]
    fn each_item_has_the_same_weight() {
        let device = Default::default();
        let mut classified = Classified::default();
        let batches: [(&[[f32; 3]], &[i32]); 2] = [
            (
                &[[9.0, 1.0, 0.0], [0.0, -1.0, 9.0], [0.0, 9.0, 4.0]],
                &[0, 1, 1],
            ),
            (&[[0.0, 0.0, 9.0]], &[2]),
        ];
        let mut losses = Vec::new();
        for (logits, targets) in batches {
            let values = logits.concat();
            let rows = burn::tensor::TensorData::new(values, [logits.len(), 3]);
            let rows = Tensor::<Selected, 2>::from_data(rows, &device);
            classified.add(rows, Tensor::from_ints(targets, &device));
            losses.extend(logits.iter().zip(targets).map(|(row, target)| {
                let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
                sum.ln() - f64::from(row[*target as usize])
            }));
        }
        let validation = classified.validation();
        assert_eq!(validation.accuracy, Some(75.0));
        let expected = losses.iter().sum::<f64>() / 4.0;
        // In single precision.
        assert!((validation.loss - expected).abs() < 1e-6, "{validation:?}");
    }
}
