use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::InputCovariance;
use mac_burn_models::VisionTransformer;
use std::error::Error;
use std::marker::PhantomData;

use super::Classified;
use crate::image_data::{ImageBatch, ImageData};
use crate::training::{Batches, Inner, Task, Validation};

/// Images at a time, where nothing is trained.
const BATCH: usize = 128;

/// Images that the covariance of the first layer is measured over, at most.
const MEASURED: usize = 8192;

/// The task to classify images with a vision transformer.
pub struct ImageClasses<B: AutodiffBackend, I, D, Bt> {
    data: ImageData<D, Bt>,
    batches: Batches,
    device: B::Device,
    item: PhantomData<fn() -> I>,
}

impl<B, I, D, Bt> ImageClasses<B, I, D, Bt>
where
    B: AutodiffBackend,
    D: Dataset<I>,
    Bt: Batcher<B, I, ImageBatch<B>> + Batcher<B::InnerBackend, I, ImageBatch<B::InnerBackend>>,
{
    /// Of the images of `data`, `batch_size` in a step, in an order that `seed` decides.
    pub fn new(data: ImageData<D, Bt>, batch_size: usize, seed: u64, device: &B::Device) -> Self {
        Self {
            batches: Batches::new(data.train.len(), batch_size, seed),
            data,
            device: device.clone(),
            item: PhantomData,
        }
    }
}

impl<B, I, D, Bt> Task<B> for ImageClasses<B, I, D, Bt>
where
    B: AutodiffBackend,
    D: Dataset<I>,
    Bt: Batcher<B, I, ImageBatch<B>> + Batcher<B::InnerBackend, I, ImageBatch<B::InnerBackend>>,
{
    type Model = VisionTransformer<B>;

    fn loss(
        &self,
        model: &VisionTransformer<B>,
        step: usize,
    ) -> Result<Tensor<B, 1>, Box<dyn Error>> {
        let items = self.batches.of_step(step).into_iter();
        let items = items.filter_map(|index| self.data.train.get(index));
        let batch: ImageBatch<B> = self.data.batcher.batch(items.collect(), &self.device);
        let loss = CrossEntropyLossConfig::new().init(&self.device);
        Ok(loss.forward(model.forward(batch.images), batch.targets))
    }

    fn validate(&self, model: &Inner<Self, B>) -> Result<Validation, Box<dyn Error>> {
        let valid = &self.data.valid;
        let indices: Vec<usize> = (0..valid.len()).collect();
        let mut classified = Classified::default();
        for indices in indices.chunks(BATCH) {
            let items = indices.iter().filter_map(|index| valid.get(*index));
            let batch: ImageBatch<_> = self.data.batcher.batch(items.collect(), &self.device);
            classified.add(model.forward(batch.images), batch.targets);
        }
        Ok(classified.validation())
    }

    fn input_covariance(
        &self,
        model: &VisionTransformer<B>,
    ) -> Result<Option<InputCovariance<B>>, Box<dyn Error>> {
        let mut covariance = InputCovariance::of(model.first_layer());
        // Folders list their images class by class: those that are measured are spread over all.
        let images = self.data.train.len();
        let measured = images.min(MEASURED);
        let indices: Vec<usize> = (0..measured)
            .map(|index| index * images / measured)
            .collect();
        for indices in indices.chunks(BATCH) {
            let items = indices
                .iter()
                .filter_map(|index| self.data.train.get(*index));
            let batch: ImageBatch<B> = self.data.batcher.batch(items.collect(), &self.device);
            covariance.update(batch.images);
        }
        Ok(Some(covariance))
    }
}
