use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor};
use mac_burn::InputCovariance;
use mac_burn_models::VisionTransformer;
use std::marker::PhantomData;

use crate::accuracy::correct;
use crate::image_batch::ImageBatch;
use crate::image_data::ImageData;
use crate::training::{Batches, Inner, Task};

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

    /// The share of the validation images that a network classifies correctly, in percent.
    pub fn accuracy(&self, model: &VisionTransformer<B::InnerBackend>) -> f64 {
        let right = self.over_validation(|batch| {
            let right = correct(model.forward(batch.images), batch.targets);
            right.into_scalar().elem::<i64>() as f64
        });
        100.0 * right
    }

    /// The sum of something over the batches of the validation images, divided by their number.
    fn over_validation(&self, measure: impl Fn(ImageBatch<B::InnerBackend>) -> f64) -> f64 {
        let valid = &self.data.valid;
        let indices: Vec<usize> = (0..valid.len()).collect();
        let sums = indices.chunks(BATCH).map(|indices| {
            let items = indices.iter().filter_map(|index| valid.get(*index));
            measure(self.data.batcher.batch(items.collect(), &self.device))
        });
        sums.sum::<f64>() / valid.len().max(1) as f64
    }
}

impl<B, I, D, Bt> Task<B> for ImageClasses<B, I, D, Bt>
where
    B: AutodiffBackend,
    D: Dataset<I>,
    Bt: Batcher<B, I, ImageBatch<B>> + Batcher<B::InnerBackend, I, ImageBatch<B::InnerBackend>>,
{
    type Model = VisionTransformer<B>;

    fn loss(&self, model: &VisionTransformer<B>, step: usize) -> Tensor<B, 1> {
        let items = self.batches.of_step(step).into_iter();
        let items = items.filter_map(|index| self.data.train.get(index));
        let batch: ImageBatch<B> = self.data.batcher.batch(items.collect(), &self.device);
        CrossEntropyLossConfig::new()
            .init(&self.device)
            .forward(model.forward(batch.images), batch.targets)
    }

    fn validation_loss(&self, model: &Inner<Self, B>) -> f64 {
        let cross_entropy = CrossEntropyLossConfig::new().init(&self.device);
        self.over_validation(|batch| {
            let [images, ..] = batch.images.dims();
            let loss = cross_entropy.forward(model.forward(batch.images), batch.targets);
            loss.into_scalar().elem::<f64>() * images as f64
        })
    }

    fn input_covariance(&self, model: &VisionTransformer<B>) -> Option<InputCovariance<B>> {
        let mut covariance = InputCovariance::of(&model.patch_embedding.projection);
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
        Some(covariance)
    }
}
