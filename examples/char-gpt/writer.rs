//! Text from a trained network.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use mac_burn_models::Gpt;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use thiserror::Error;

/// A network that writes, character by character.
pub(crate) struct Writer<B: Backend> {
    pub(crate) model: Gpt<B>,
    pub(crate) context_size: usize,
    pub(crate) temperature: f64,
}

/// A network that says nothing of the next character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "after {written} characters the network's logits are not finite, which they must be to write: it has diverged"
)]
pub(crate) struct NoProbabilities {
    written: usize,
}

impl<B: Backend> Writer<B> {
    /// `text` and `length` more characters, drawn from `seed`.
    ///
    /// # Errors
    /// If the network has diverged.
    pub(crate) fn write(
        &self,
        mut text: Vec<i64>,
        length: usize,
        seed: u64,
    ) -> Result<Vec<i64>, NoProbabilities> {
        let mut random = StdRng::seed_from_u64(seed);
        for written in 0..length {
            let weights = WeightedIndex::new(self.weights(&text));
            let weights = weights.map_err(|_| NoProbabilities { written })?;
            text.push(weights.sample(&mut random) as i64);
        }
        Ok(text)
    }

    /// How likely each next character is, as a multiple of the likeliest: relative to that no temperature is too low for
    /// floating-point numbers.
    fn weights(&self, text: &[i64]) -> Vec<f64> {
        let logits = self.logits(text);
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |logit| f64::exp((logit - largest) / self.temperature);
        logits.into_iter().map(weight).collect()
    }

    /// The logits of the next character.
    fn logits(&self, text: &[i64]) -> Vec<f64> {
        let seen = &text[text.len().saturating_sub(self.context_size)..];
        let device = self.model.position_embedding.weight.device();
        let tokens = TensorData::new(seen.to_vec(), [1, seen.len()]);
        let logits = self.model.forward(Tensor::from_data(tokens, &device));
        let last = logits.narrow(1, seen.len() - 1, 1);
        last.into_data().iter::<f64>().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use mac_burn_examples::backend::Selected;
    use mac_burn_models::GptConfig;

    fn writer(temperature: f64) -> Writer<Selected> {
        Writer {
            model: GptConfig::new(5)
                .with_context_size(3)
                .with_n_layers(1)
                .with_n_heads(1)
                .with_d_model(4)
                .init(&Default::default()),
            context_size: 3,
            temperature,
        }
    }

    impl Writer<Selected> {
        fn at(&self, temperature: f64) -> Self {
            Self {
                model: self.model.clone(),
                temperature,
                ..*self
            }
        }

        fn text(&self, seed: u64) -> Vec<i64> {
            let text = self.write(vec![2], 20, seed);
            text.expect("the logits are finite")
        }
    }

    #[test]
    fn a_seed_decides_the_text_and_its_end_is_all_that_is_seen() {
        let writer = writer(1.0);
        let text = writer.text(7);
        assert_eq!((text.len(), text[0]), (21, 2));
        assert_eq!(text, writer.text(7));
        assert_ne!(text, writer.text(8));
    }

    /// Breaks when the temperature is not applied, or the logits over it are not numbers any more, as in single precision.
    #[test]
    fn a_low_temperature_takes_the_likeliest_character() {
        let writer = writer(1.0);
        let mut likeliest = vec![2];
        for _ in 0..20 {
            let logits = writer.logits(&likeliest).into_iter().enumerate();
            let next = logits.max_by(|(_, left), (_, right)| left.total_cmp(right));
            likeliest.push(next.map_or(0, |(index, _)| index as i64));
        }
        for temperature in [1e-12, 1e-40, f64::MIN_POSITIVE] {
            for seed in [7, 8] {
                assert_eq!(
                    writer.at(temperature).text(seed),
                    likeliest,
                    "{temperature}"
                );
            }
        }
        assert_ne!(writer.text(7), likeliest);
    }

    /// Breaks when the logits are multiplied by the temperature: one character of five is all that is written then.
    #[test]
    fn a_high_temperature_makes_all_characters_alike() {
        for temperature in [1e40, f64::MAX] {
            let weights = writer(temperature).weights(&[2]);
            assert!(weights.iter().all(|weight| *weight == 1.0), "{weights:?}");
        }
    }

    #[test]
    fn a_network_that_has_diverged_is_an_error() {
        let mut writer = writer(1.0);
        let gamma = Tensor::full([4], f32::NAN, &Default::default());
        writer.model.norm.gamma = Param::from_tensor(gamma);
        let error = writer.write(vec![2], 5, 7);
        assert_eq!(error, Err(NoProbabilities { written: 0 }));
    }
}
