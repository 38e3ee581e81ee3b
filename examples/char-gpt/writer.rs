//! Text from a trained network.

use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use mac_burn_models::Gpt;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;

/// A network that writes, character by character.
pub(crate) struct Writer<B: Backend> {
    pub(crate) model: Gpt<B>,
    pub(crate) context_size: usize,
    pub(crate) temperature: f64,
}

impl<B: Backend> Writer<B> {
    /// `text` and `length` more characters, drawn from `seed`.
    pub(crate) fn write(&self, mut text: Vec<i64>, length: usize, seed: u64) -> Vec<i64> {
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..length {
            // A network that diverged has no probabilities.
            let Ok(next) = WeightedIndex::new(self.probabilities(&text)) else {
                break;
            };
            text.push(next.sample(&mut random) as i64);
        }
        text
    }

    /// Those of each next character.
    fn probabilities(&self, text: &[i64]) -> Vec<f64> {
        let seen = &text[text.len().saturating_sub(self.context_size)..];
        let device = self.model.position_embedding.weight.device();
        let tokens = TensorData::new(seen.to_vec(), [1, seen.len()]);
        let logits = self.model.forward(Tensor::from_data(tokens, &device));
        let last = logits.narrow(1, seen.len() - 1, 1).flatten::<1>(0, 2);
        let probabilities = softmax(last.div_scalar(self.temperature), 0);
        probabilities.into_data().iter::<f64>().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mac_burn_examples::backend::Selected;
    use mac_burn_models::GptConfig;

    #[test]
    fn a_seed_decides_the_text_and_its_end_is_all_that_is_seen() {
        Selected::seed(&Default::default(), 1);
        let writer = |temperature| Writer::<Selected> {
            model: GptConfig::new(5)
                .with_context_size(3)
                .with_n_layers(1)
                .with_n_heads(1)
                .with_d_model(4)
                .init(&Default::default()),
            context_size: 3,
            temperature,
        };
        let writer = writer(1.0);
        let text = writer.write(vec![2], 20, 7);
        assert_eq!((text.len(), text[0]), (21, 2));
        assert_eq!(text, writer.write(vec![2], 20, 7));
        assert_ne!(text, writer.write(vec![2], 20, 8));
    }
}
