use std::error::Error;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Int, Tensor, TensorData};
use mac_burn_models::Gpt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thiserror::Error;

use super::Characters;
use crate::training::{Inner, Task, Validation, stream};

/// *Hamlet*, in the public domain: compiled in.
pub const HAMLET: &str = include_str!("../../data/hamlet.txt");

/// One in this many characters, at the end of the text, is not trained on.
const VALIDATION_SHARE: usize = 10;

/// Windows that are validated on at a time.
const VALIDATION_BATCH: usize = 64;

/// The task to predict each next character of a text.
///
/// The last tenth of the text is for validation. Training windows begin anywhere in the rest; validation windows follow
/// each other.
#[derive(Clone, Debug)]
pub struct TextModel<B: Backend> {
    /// The characters of the text.
    pub characters: Characters,
    train: Vec<i64>,
    validation: Vec<i64>,
    context_size: usize,
    batch_size: usize,
    seed: u64,
    device: B::Device,
}

/// A text that nothing can be learnt from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the text has {found} characters; a context of {context_size} needs at least {needed}")]
pub struct ShortText {
    found: usize,
    context_size: usize,
    needed: usize,
}

impl<B: Backend> TextModel<B> {
    /// Of a text in windows of `context_size` characters, `batch_size` of them in a step, drawn from `seed`.
    ///
    /// # Errors
    /// If the part for validation would not fill a window.
    pub fn new(
        text: &str,
        context_size: usize,
        batch_size: usize,
        seed: u64,
        device: &B::Device,
    ) -> Result<Self, ShortText> {
        let characters = Characters::of(text);
        let mut train = characters.encode(text).unwrap_or_default();
        let needed = context_size
            .saturating_add(1)
            .saturating_mul(VALIDATION_SHARE);
        if train.len() < needed {
            return Err(ShortText {
                found: train.len(),
                context_size,
                needed,
            });
        }
        let validation = train.split_off(train.len() - train.len() / VALIDATION_SHARE);
        Ok(Self {
            characters,
            train,
            validation,
            context_size,
            batch_size,
            seed,
            device: device.clone(),
        })
    }

    /// The same with a part for tests, the last tenth. It validates on that if it `tests`, otherwise on as long a part before it;
    /// either way it trains on what is before both.
    pub fn with_test_part(mut self, tests: bool) -> Self {
        let part = self.validation.len();
        let train = self.train.len().saturating_sub(part);
        let validation = self.train.split_off(train);
        if !tests {
            self.validation = validation;
        }
        self
    }

    /// Inputs and targets, the next characters, both `[windows, context_size]`.
    fn windows<C: Backend<Device = B::Device>>(
        &self,
        text: &[i64],
        starts: &[usize],
    ) -> [Tensor<C, 2, Int>; 2] {
        [0, 1].map(|ahead| {
            let tokens: Vec<i64> = starts
                .iter()
                .flat_map(|start| &text[start + ahead..][..self.context_size])
                .copied()
                .collect();
            let data = TensorData::new(tokens, [starts.len(), self.context_size]);
            Tensor::from_data(data, &self.device)
        })
    }

    /// The mean loss of windows of a text, in nats a character, `[1]`.
    fn loss_of<C: Backend<Device = B::Device>>(
        &self,
        model: &Gpt<C>,
        text: &[i64],
        starts: &[usize],
    ) -> Tensor<C, 1> {
        let [inputs, targets] = self.windows::<C>(text, starts);
        let logits = model.forward(inputs);
        let [windows, length, vocabulary] = logits.dims();
        CrossEntropyLossConfig::new().init(&self.device).forward(
            logits.reshape([windows * length, vocabulary]),
            targets.reshape([windows * length]),
        )
    }
}

impl<B: AutodiffBackend> Task<B> for TextModel<B> {
    type Model = Gpt<B>;

    fn loss(&self, model: &Gpt<B>, step: usize) -> Result<Tensor<B, 1>, Box<dyn Error>> {
        let mut random = StdRng::seed_from_u64(stream(self.seed, step));
        let last = self.train.len() - self.context_size;
        let starts: Vec<usize> = (0..self.batch_size)
            .map(|_| random.random_range(0..last))
            .collect();
        Ok(self.loss_of(model, &self.train, &starts))
    }

    fn validate(&self, model: &Inner<Self, B>) -> Result<Validation, Box<dyn Error>> {
        let last = self.validation.len() - self.context_size;
        let starts: Vec<usize> = (0..last).step_by(self.context_size).collect();
        let sums = starts.chunks(VALIDATION_BATCH).map(|starts| {
            let loss = self.loss_of(model, &self.validation, starts);
            loss.into_scalar().elem::<f64>() * starts.len() as f64
        });
        Ok(Validation {
            loss: sums.sum::<f64>() / starts.len() as f64,
            accuracy: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Training;
    use mac_burn_models::GptConfig;

    fn model() -> TextModel<Training> {
        TextModel::new("0123456789abcdefghij", 1, 3, 5, &Default::default())
            .expect("the text is long enough")
    }

    #[test]
    fn targets_are_the_next_characters() {
        let task = model();
        let text = [4, 5, 6, 7];
        let [inputs, targets] = task.windows::<Training>(&text, &[0, 2]);
        assert_eq!(inputs.into_data().iter::<i64>().collect::<Vec<_>>(), [4, 6]);
        assert_eq!(
            targets.into_data().iter::<i64>().collect::<Vec<_>>(),
            [5, 7]
        );
    }

    #[test]
    fn the_validation_loss_is_the_mean_over_its_windows() {
        let task = model();
        let network: Gpt<Training> = GptConfig::new(task.characters.count())
            .with_context_size(1)
            .with_n_layers(1)
            .with_n_heads(1)
            .with_d_model(4)
            .init(&Default::default());
        let network = burn::module::AutodiffModule::valid(&network);
        // The last tenth: "i" and "j", one window.
        let expected = task.loss_of(&network, &[18, 19], &[0]).into_scalar();
        let validation = task.validate(&network).expect("the text is in memory");
        assert_eq!(validation.loss, f64::from(expected));
    }

    /// Breaks when a part is trained on and validated on, or the network is trained on another text for the test.
    #[test]
    fn the_test_part_is_the_last_tenth_and_the_validation_part_the_one_before() {
        let [tuning, testing] = [false, true].map(|tests| model().with_test_part(tests));
        assert_eq!(tuning.train, (0..16).collect::<Vec<_>>());
        assert_eq!(testing.train, tuning.train);
        assert_eq!(
            (tuning.validation, testing.validation),
            (vec![16, 17], vec![18, 19])
        );
    }

    #[test]
    fn a_short_text_is_refused() {
        let error = TextModel::<Training>::new("to be", 8, 1, 0, &Default::default())
            .expect_err("five characters are no context of eight");
        assert_eq!(
            error.to_string(),
            "the text has 5 characters; a context of 8 needs at least 90"
        );
    }

    /// Breaks when the number of characters that are needed overflows.
    #[test]
    fn any_context_is_compared_with_the_text() {
        for context_size in [usize::MAX, usize::MAX / 10] {
            let text = "to be or not to be";
            let task = TextModel::<Training>::new(text, context_size, 1, 0, &Default::default());
            let error = task.expect_err("no text is as long").to_string();
            let answer = format!("needs at least {}", usize::MAX);
            assert!(error.ends_with(&answer), "{error}");
        }
    }
}
