use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// The probabilities that a network is to give, with label smoothing: `1 − s + s / classes` for the class of an image and
/// `s / classes` for the others.
///
/// Of C. Szegedy et al., [arXiv:1512.00567](https://arxiv.org/abs/1512.00567). `smoothing` is `s`, in [0, 1].
///
/// # Shapes
/// - `labels`: `[batch_size]`
/// - output: `[batch_size, classes]`
pub fn soft_targets<B: Backend>(
    labels: Tensor<B, 1, Int>,
    classes: usize,
    smoothing: f64,
) -> Tensor<B, 2> {
    let device = labels.device();
    let all = Tensor::<B, 1, Int>::arange(0..classes as i64, &device);
    let of_class = labels.unsqueeze_dim::<2>(1).equal(all.unsqueeze_dim(0));
    of_class
        .float()
        .mul_scalar(1.0 - smoothing)
        .add_scalar(smoothing / classes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::loss::CrossEntropyLossConfig;
    use burn::tensor::TensorData;
    use burn::tensor::loss::cross_entropy_with_logits;
    use mac_burn_examples::backend::Selected;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn smoothing_takes_from_the_class_and_gives_to_all() {
        let labels = Tensor::<Selected, 1, Int>::from_ints([2, 0], &Default::default());
        let targets: Vec<f32> = soft_targets(labels, 4, 0.2).into_data().iter().collect();
        let expected = [0.05, 0.05, 0.85, 0.05, 0.85, 0.05, 0.05, 0.05];
        for (target, expected) in targets.iter().zip(expected) {
            assert!((target - expected).abs() < 1e-6, "{targets:?}");
        }
    }

    /// Breaks when the loss is averaged over classes as well, or smoothing is spread over the other classes alone (by 1e-2
    /// here).
    #[test]
    fn the_cross_entropy_of_these_is_that_of_the_labels() {
        // Of sums of five numbers of about 1, in single precision.
        const ROUNDING: f32 = 1e-5;
        let device = Default::default();
        let mut rng = StdRng::seed_from_u64(5);
        let logits: Vec<f32> = (0..15).map(|_| rng.random_range(-2.0..2.0)).collect();
        let logits = Tensor::<Selected, 2>::from_data(TensorData::new(logits, [3, 5]), &device);
        let labels = Tensor::<Selected, 1, Int>::from_ints([4, 0, 2], &device);
        for smoothing in [0.0, 0.1] {
            let config = CrossEntropyLossConfig::new();
            let hard = config
                .with_smoothing((smoothing > 0.0).then_some(smoothing))
                .init(&device)
                .forward(logits.clone(), labels.clone());
            let targets = soft_targets(labels.clone(), 5, f64::from(smoothing));
            let soft = cross_entropy_with_logits(logits.clone(), targets);
            let difference: f32 = (hard - soft).abs().into_data().iter::<f32>().sum();
            assert!(difference < ROUNDING, "{difference}");
        }
    }
}
