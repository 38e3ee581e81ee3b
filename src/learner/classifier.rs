//! A network that burn-train can train.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use mac_burn_models::LeNet;

use crate::image_batch::ImageBatch;

/// A [`LeNet`] with the cross entropy as its loss.
#[derive(Module, Debug)]
pub struct Classifier<B: Backend> {
    /// The network that gives the logits.
    pub network: LeNet<B>,
}

impl<B: Backend> Classifier<B> {
    /// Wraps a network.
    pub fn new(network: LeNet<B>) -> Self {
        Self { network }
    }

    fn classify(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        let logits = self.network.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, logits, batch.targets)
    }
}

impl<B: AutodiffBackend> TrainStep for Classifier<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Classifier<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        self.classify(batch)
    }
}
