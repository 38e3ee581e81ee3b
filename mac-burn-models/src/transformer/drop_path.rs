use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};

/// Stochastic depth (G. Huang et al., [arXiv:1603.09382](https://arxiv.org/abs/1603.09382)): in training, leaves out a residual
/// branch for a part of the samples, and scales it by `1 / (1 − rate)` for the others, so that its mean is unchanged.
///
/// Outside of training it is the identity.
#[derive(Module, Clone, Debug)]
pub struct DropPath {
    /// The probability with which a sample goes without the branch, in [0, 1).
    pub rate: f64,
}

impl DropPath {
    /// Leaves out the branch with this probability.
    ///
    /// # Panics
    /// If the rate is not in [0, 1): a branch that is always left out has no mean to keep.
    pub fn new(rate: f64) -> Self {
        assert!(
            (0.0..1.0).contains(&rate),
            "the rate of a path that is dropped must be in [0, 1), and is {rate}"
        );
        Self { rate }
    }

    /// Drops the branch's output of some samples.
    ///
    /// # Shapes
    /// - branch and output: `[batch_size, ..]`
    pub fn forward<B: Backend, const D: usize>(&self, branch: Tensor<B, D>) -> Tensor<B, D> {
        let device = branch.device();
        if self.rate == 0.0 || !B::ad_enabled(&device) {
            return branch;
        }
        let kept = 1.0 - self.rate;
        let mut samples = [1; D];
        samples[0] = branch.dims()[0];
        let mask = Tensor::<B, D>::random(
            samples,
            Distribution::Bernoulli(kept),
            (&device, branch.dtype()),
        );
        branch * mask.mul_scalar(1.0 / kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, TrainBackend};

    const SAMPLES: usize = 4000;

    /// The mean of what is kept of ones, and the values that occur among samples of two elements.
    fn of_ones(rate: f64) -> (f32, Vec<[f32; 2]>) {
        let ones = Tensor::<TrainBackend, 2>::ones([SAMPLES, 2], &Default::default());
        let output = DropPath::new(rate).forward(ones).into_data();
        let values: Vec<f32> = output.iter().collect();
        let samples = values.chunks(2).map(|pair| [pair[0], pair[1]]);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        (mean, samples.collect())
    }

    /// A mean of 4000 draws of 0 or 1/0.75 has a standard deviation of 0.0091: five of them are never left by chance,
    /// and a mean without the scale, 0.75, is 27 away.
    #[test]
    fn whole_samples_are_dropped_and_the_mean_is_kept() {
        let (mean, samples) = of_ones(0.25);
        let scaled = 1.0 / 0.75_f32;
        let whole = |sample: &[f32; 2]| *sample == [0.0; 2] || *sample == [scaled; 2];

        assert!(samples.iter().all(whole));
        assert!((mean - 1.0).abs() < 0.046, "{mean}");
    }

    #[test]
    fn nothing_is_dropped_at_a_rate_of_zero_or_outside_of_training() {
        let ones = Tensor::<TestBackend, 2>::ones([SAMPLES, 2], &Default::default());

        assert!(of_ones(0.0).1.iter().all(|sample| *sample == [1.0; 2]));
        let output = DropPath::new(0.5).forward(ones.clone());
        assert_eq!(output.into_data(), ones.into_data());
    }

    #[test]
    #[should_panic(expected = "in [0, 1), and is 1")]
    fn a_path_that_is_always_dropped_is_refused() {
        DropPath::new(1.0);
    }
}
