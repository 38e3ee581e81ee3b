//! MNIST, from burn-dataset.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_dataset::vision::{MnistDataset, MnistItem};

use crate::caught::caught;
use crate::image_data::{ImageBatch, ImageData};

/// Height and width of an image.
pub const SIZE: usize = 28;

/// The number of classes.
pub const CLASSES: usize = 10;

/// Mean of the training pixels, which are 0 to 255.
pub const MEAN: f32 = 33.318_42;

/// Standard deviation of the training pixels.
pub const STD: f32 = 78.567_49;

/// Makes batches: standardises the pixels with the mean and standard deviation of the training set.
#[derive(Clone, Copy, Debug)]
pub struct MnistBatcher;

impl<B: Backend> Batcher<B, MnistItem, ImageBatch<B>> for MnistBatcher {
    fn batch(&self, items: Vec<MnistItem>, device: &B::Device) -> ImageBatch<B> {
        let pixels: Vec<f32> = items
            .iter()
            .flat_map(|item| item.image.iter().flatten())
            .map(|pixel| (pixel - MEAN) / STD)
            .collect();
        let labels: Vec<i64> = items.iter().map(|item| item.label.into()).collect();

        ImageBatch {
            images: Tensor::from_data(
                TensorData::new(pixels, [items.len(), 1, SIZE, SIZE]),
                device,
            ),
            targets: Tensor::from_data(TensorData::new(labels, [items.len()]), device),
        }
    }
}

/// Loads MNIST, after a download if it has not been used before.
///
/// # Errors
/// If that fails, as without a network.
pub fn load() -> Result<ImageData<MnistDataset, MnistBatcher>, String> {
    caught(|| ImageData {
        train: MnistDataset::train(),
        valid: MnistDataset::test(),
        batcher: MnistBatcher,
    })
    .map_err(|panicked| {
        format!(
            "MNIST could not be loaded; it is downloaded when it is first used, and --data digits needs no download\n  \
             burn-dataset: {}",
            panicked.message
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;

    #[test]
    fn a_batch_has_the_standardised_pixels_row_by_row() {
        let mut item = MnistItem {
            image: [[MEAN; SIZE]; SIZE],
            label: 7,
        };
        item.image[2][5] = MEAN + STD;

        let batch: ImageBatch<Selected> = MnistBatcher.batch(vec![item], &Default::default());

        assert_eq!(batch.images.dims(), [1, 1, SIZE, SIZE]);
        let pixels: Vec<f32> = batch.images.into_data().iter().collect();
        let inked: Vec<usize> = (0..pixels.len()).filter(|i| pixels[*i] != 0.0).collect();
        assert_eq!(inked, [2 * SIZE + 5]);
        assert!((pixels[inked[0]] - 1.0).abs() < f32::EPSILON);
        assert_eq!(batch.targets.into_data().iter::<i64>().next(), Some(7));
    }
}
