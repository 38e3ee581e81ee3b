use std::error::Error;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::InputCovariance;

use super::{COVARIANCE_IMAGES, Classified};
use crate::images::{Image, Images, spread};
use crate::networks::Network;
use crate::training::{Batches, Inner, Task, Validation};

/// Images at a time, where nothing is trained.
const BATCH: usize = 128;

/// The task to classify images that are in memory.
pub struct ImageClasses<'a, B: AutodiffBackend> {
    images: &'a Images,
    batches: Batches,
    device: B::Device,
}

impl<'a, B: AutodiffBackend> ImageClasses<'a, B> {
    /// Of these images, `batch_size` in a step, in an order that `seed` decides.
    pub fn new(images: &'a Images, batch_size: usize, seed: u64, device: &B::Device) -> Self {
        Self {
            batches: Batches::new(images.train.len(), batch_size, seed),
            images,
            device: device.clone(),
        }
    }
}

impl<B: AutodiffBackend> Task<B> for ImageClasses<'_, B> {
    type Model = Network<B>;

    fn loss(&self, model: &Network<B>, step: usize) -> Result<Tensor<B, 1>, Box<dyn Error>> {
        let images = self.batches.of_step(step).into_iter();
        let images = images.map(|index| &self.images.train[index]);
        let batch = self.images.batch::<B>(images, &self.device);
        let loss = CrossEntropyLossConfig::new().init(&self.device);
        Ok(loss.forward(model.forward(batch.images), batch.targets))
    }

    fn validate(&self, model: &Inner<Self, B>) -> Result<Validation, Box<dyn Error>> {
        let mut classified = Classified::default();
        for images in self.images.valid.chunks(BATCH) {
            let batch = self.images.batch::<B::InnerBackend>(images, &self.device);
            classified.add(model.forward(batch.images), batch.targets);
        }
        Ok(classified.validation())
    }

    fn input_covariance(
        &self,
        model: &Network<B>,
    ) -> Result<Option<InputCovariance<B>>, Box<dyn Error>> {
        let mut covariance = model.input_covariance();
        let measured: Vec<&Image> = spread(&self.images.train, COVARIANCE_IMAGES).collect();
        for images in measured.chunks(BATCH) {
            let images = images.iter().copied();
            let batch = self.images.batch::<B>(images, &self.device);
            model.measure(batch.images, &mut covariance);
        }
        Ok(Some(covariance))
    }
}
