use std::error::Error;

use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Tensor};
use mac_burn::InputCovariance;
use mac_burn_models::Mlp;

use super::COVARIANCE_IMAGES;
use crate::images::{Image, Images, spread};
use crate::training::{Batches, Inner, Task, Validation};

/// Images at a time, where nothing is trained.
const BATCH: usize = 500;

/// The task to reconstruct images by an autoencoder, whose outputs are the logits of pixels between 0 and 1.
pub struct Reconstruction<'a, B: AutodiffBackend> {
    images: &'a Images,
    batches: Batches,
    device: B::Device,
}

impl<'a, B: AutodiffBackend> Reconstruction<'a, B> {
    /// Of these images, `batch_size` in a step, in an order that `seed` decides.
    pub fn new(images: &'a Images, batch_size: usize, seed: u64, device: &B::Device) -> Self {
        Self {
            batches: Batches::new(images.train.len(), batch_size, seed),
            images,
            device: device.clone(),
        }
    }

    /// Pixels between 0 and 1, `[images, pixels]`.
    fn batch<'b, C: Backend<Device = B::Device>>(
        &self,
        images: impl IntoIterator<Item = &'b Image>,
    ) -> Tensor<C, 2> {
        self.images
            .batch::<C>(images, &self.device)
            .images
            .flatten(1, 3)
    }
}

impl<B: AutodiffBackend> Task<B> for Reconstruction<'_, B> {
    type Model = Mlp<B>;

    /// The cross-entropy of an image, `−Σ x log p + (1 − x) log (1 − p)` over its pixels, averaged over the batch.
    fn loss(&self, model: &Mlp<B>, step: usize) -> Result<Tensor<B, 1>, Box<dyn Error>> {
        let images = self.batches.of_step(step).into_iter();
        let pixels = self.batch::<B>(images.map(|index| &self.images.train[index]));
        let logits = model.forward(pixels.clone());
        // log (1 − p) = log p − logit
        let entropy = (pixels - 1.0) * logits.clone() + log_sigmoid(logits);
        Ok(-entropy.sum_dim(1).mean())
    }

    /// The loss is the squared error of an image, `Σ (p − x)²` over its pixels, averaged over the images.
    fn validate(&self, model: &Inner<Self, B>) -> Result<Validation, Box<dyn Error>> {
        let valid = &self.images.valid;
        let errors = valid.chunks(BATCH).map(|images| {
            let pixels = self.batch::<B::InnerBackend>(images);
            let error = sigmoid(model.forward(pixels.clone())) - pixels;
            error.square().sum().into_scalar().elem::<f64>()
        });
        Ok(Validation {
            loss: errors.sum::<f64>() / valid.len().max(1) as f64,
            accuracy: None,
        })
    }

    fn input_covariance(
        &self,
        model: &Mlp<B>,
    ) -> Result<Option<InputCovariance<B>>, Box<dyn Error>> {
        let mut covariance = InputCovariance::of(model.first_layer());
        let measured: Vec<&Image> = spread(&self.images.train, COVARIANCE_IMAGES).collect();
        for images in measured.chunks(BATCH) {
            covariance.update(self.batch::<B>(images.iter().copied()));
        }
        Ok(Some(covariance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Training;
    use crate::images::{ImageShape, Normalization};
    use burn::module::AutodiffModule;
    use mac_burn_models::MlpConfig;

    /// Breaks when a sum is a mean, or pixels are taken for logits.
    #[test]
    fn loss_and_error_are_sums_over_the_pixels_of_an_image() {
        let image = |pixels: [u8; 4]| Image {
            pixels: pixels.to_vec(),
            label: 0,
        };
        let images = Images {
            train: vec![image([0, 255, 51, 0]), image([0, 255, 51, 0])],
            valid: vec![image([0, 255, 51, 0]), image([255, 255, 255, 255])],
            shape: ImageShape {
                size: 2,
                channels: 1,
                classes: 1,
            },
            normalization: Normalization::of_shares([0.0], [1.0]),
        };
        let device = Default::default();
        let task = Reconstruction::<Training>::new(&images, 2, 0, &device);
        let mut model: Mlp<Training> = MlpConfig::new(vec![4, 4]).init(&device);
        // The logits of all images.
        let logits = [-1.0, 0.5, 2.0, 0.0];
        let layer = burn::nn::Linear {
            weight: burn::module::Param::from_tensor(Tensor::zeros([4, 4], &device)),
            bias: Some(burn::module::Param::from_tensor(Tensor::from_floats(
                logits, &device,
            ))),
        };
        model.layers = vec![layer.into()];
        let probabilities = logits.map(|logit: f64| 1.0 / (1.0 + (-logit).exp()));
        let pairs = |pixels: [f64; 4]| probabilities.into_iter().zip(pixels);

        let loss = task.loss(&model, 0).expect("the images are in memory");
        let expected: f64 = pairs([0.0, 1.0, 0.2, 0.0])
            .map(|(p, x)| -(x * p.ln() + (1.0 - x) * (1.0 - p).ln()))
            .sum();
        let loss = loss.into_scalar().elem::<f64>();
        assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");

        let validation = task.validate(&model.valid()).expect("they are in memory");
        let error = |pixels| pairs(pixels).map(|(p, x)| (p - x).powi(2)).sum::<f64>();
        let expected = (error([0.0, 1.0, 0.2, 0.0]) + error([1.0; 4])) / 2.0;
        let found = validation.loss;
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}
