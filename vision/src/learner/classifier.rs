//! A network that burn-train can train.

use burn::module::{AutodiffModule, Module};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use crate::image_network::ImageNetwork;
use mac_burn_examples::image_batch::ImageBatch;

/// A network that classifies images, with its loss.
#[derive(Module, Debug)]
pub struct Classifier<B: Backend, N: Module<B>> {
    /// The network that gives the logits.
    pub network: N,
    /// The loss: the cross entropy of the classes.
    pub loss: CrossEntropyLoss<B>,
}

/// A network that a [`Classifier`] can train, and validate without gradients.
pub trait TrainableNetwork<B: AutodiffBackend>:
    ImageNetwork<B> + AutodiffModule<B, InnerModule: ImageNetwork<B::InnerBackend>> + 'static
{
}

impl<B, N> TrainableNetwork<B> for N
where
    B: AutodiffBackend,
    N: ImageNetwork<B> + AutodiffModule<B, InnerModule: ImageNetwork<B::InnerBackend>> + 'static,
{
}

impl<B: Backend, N: ImageNetwork<B>> Classifier<B, N> {
    /// Wraps a network.
    pub fn new(network: N) -> Self {
        Self {
            network,
            loss: CrossEntropyLossConfig::new().init(&Default::default()),
        }
    }

    fn classify(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        let logits = self.network.forward(batch.images);
        let loss = self.loss.forward(logits.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, logits, batch.targets)
    }
}

impl<B: AutodiffBackend, N: TrainableNetwork<B>> TrainStep for Classifier<B, N> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend, N: ImageNetwork<B>> InferenceStep for Classifier<B, N> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        self.classify(batch)
    }
}
