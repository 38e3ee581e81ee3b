use std::cell::RefCell;
use std::error::Error;

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::loss::cross_entropy_with_logits;
use mac_burn::InputCovariance;
use mac_burn_examples::images::HostBatch;
use mac_burn_examples::networks::Network;
use mac_burn_examples::tasks::Classified;
use mac_burn_examples::training::{Inner, Task, Validation};

use crate::augment::{Mix, soft_targets};
use crate::batches::{BatchError, BatchMaker, OrderedBatches};

/// The batches of a run.
pub struct ImageBatches {
    /// The batch of each step, and how its images are mixed.
    pub train: BatchMaker<(HostBatch, Mix)>,
    /// Some training images, changed as in training but not mixed, and each once: what the first layer's inputs are measured on.
    pub measured: BatchMaker<HostBatch>,
    /// The images to validate on.
    pub valid: BatchMaker<HostBatch>,
}

/// The task to classify images with a network of any family.
pub struct ImageTask<B: AutodiffBackend> {
    batches: ImageBatches,
    /// The batches of the next steps, which threads make while the network trains.
    coming: RefCell<Option<OrderedBatches<(HostBatch, Mix)>>>,
    classes: usize,
    label_smoothing: f64,
    device: B::Device,
}

impl<B: AutodiffBackend> ImageTask<B> {
    /// Of images of as many classes, with this share of the targets, in [0, 1], spread over all of them in training.
    pub fn new(
        batches: ImageBatches,
        classes: usize,
        label_smoothing: f64,
        device: &B::Device,
    ) -> Self {
        Self {
            batches,
            coming: RefCell::new(None),
            classes,
            label_smoothing,
            device: device.clone(),
        }
    }

    fn training_batch(&self, step: usize) -> Result<(HostBatch, Mix), BatchError> {
        let mut coming = self.coming.borrow_mut();
        let known = coming.take().filter(|known| known.next_index() == step);
        let mut batches = known.unwrap_or_else(|| self.batches.train.starting_at(step));
        let batch = batches.next();
        *coming = Some(batches);
        batch.unwrap_or_else(|| Err(BatchError::new("there is no image to train on")))
    }
}

impl<B: AutodiffBackend> Task<B> for ImageTask<B> {
    type Model = Network<B>;

    /// The loss is `−Σ p log q` over the classes, averaged over the batch, with the probabilities `p` of smoothed and mixed targets.
    fn loss(&self, model: &Network<B>, step: usize) -> Result<Tensor<B, 1>, Box<dyn Error>> {
        let (images, mix) = self.training_batch(step)?;
        let size = images.size();
        let batch = images.into_batch::<B>(&self.device);
        let targets = soft_targets(batch.targets, self.classes, self.label_smoothing);
        let logits = model.forward(mix.images(batch.images));
        Ok(cross_entropy_with_logits(
            logits,
            mix.targets(targets, size),
        ))
    }

    fn validate(&self, model: &Inner<Self, B>) -> Result<Validation, Box<dyn Error>> {
        let mut classified = Classified::default();
        for images in self.batches.valid.starting_at(0) {
            let batch = images?.into_batch::<B::InnerBackend>(&self.device);
            classified.add(model.forward(batch.images), batch.targets);
        }
        Ok(classified.validation())
    }

    fn input_covariance(
        &self,
        model: &Network<B>,
    ) -> Result<Option<InputCovariance<B>>, Box<dyn Error>> {
        let mut covariance = model.input_covariance();
        for images in self.batches.measured.starting_at(0) {
            let batch = images?.into_batch::<B>(&self.device);
            model.measure(batch.images, &mut covariance);
        }
        Ok(Some(covariance))
    }
}
