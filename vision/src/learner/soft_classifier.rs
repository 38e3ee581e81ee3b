//! A network that burn-train can train on probabilities of classes.

use burn::module::Module;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::loss::cross_entropy_with_logits;
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use super::TrainableNetwork;
use crate::augment::MixedBatch;
use crate::image_network::ImageNetwork;
use mac_burn_examples::image_batch::ImageBatch;

/// A network that is trained on images with probabilities of classes, `−Σ p log q` averaged over the batch, and validated
/// on images with a class each. The accuracy while training is that of the class with the larger share.
#[derive(Module, Debug)]
pub struct SoftClassifier<B: Backend, N: Module<B>> {
    /// The network that gives the logits.
    pub network: N,
    /// The loss in validation.
    pub validation_loss: CrossEntropyLoss<B>,
}

impl<B: Backend, N: ImageNetwork<B>> SoftClassifier<B, N> {
    /// Wraps a network.
    pub fn new(network: N) -> Self {
        Self {
            network,
            validation_loss: CrossEntropyLossConfig::new().init(&Default::default()),
        }
    }
}

impl<B: AutodiffBackend, N: TrainableNetwork<B>> TrainStep for SoftClassifier<B, N> {
    type Input = MixedBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: MixedBatch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let logits = self.network.forward(batch.images);
        let loss = cross_entropy_with_logits(logits.clone(), batch.targets);
        let grads = loss.backward();
        let output = ClassificationOutput::new(loss, logits, batch.labels);
        TrainOutput::new(self, grads, output)
    }
}

impl<B: Backend, N: ImageNetwork<B>> InferenceStep for SoftClassifier<B, N> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        let logits = self.network.forward(batch.images);
        let loss = self
            .validation_loss
            .forward(logits.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, logits, batch.targets)
    }
}
