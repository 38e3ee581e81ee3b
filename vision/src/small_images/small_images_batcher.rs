use burn::data::dataloader::batcher::Batcher;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::{Augmentation, ImageShape, Normalization, SmallImage};
use crate::learner::EpochBatcher;
use mac_burn_examples::image_batch::ImageBatch;

/// Makes batches of normalized images: as they are, or, once [an epoch](EpochBatcher::of_epoch) is given, changed.
#[derive(Clone, Debug)]
pub struct SmallImagesBatcher {
    shape: ImageShape,
    normalization: Normalization,
    augmentation: Augmentation,
    epoch_seed: Option<u64>,
}

impl SmallImagesBatcher {
    /// Of images of this shape, and of epochs whose images are changed so.
    ///
    /// # Panics
    /// If the normalization has another number of channels than the images.
    pub fn new(
        shape: ImageShape,
        normalization: Normalization,
        augmentation: Augmentation,
    ) -> Self {
        assert_eq!(shape.channels, normalization.channels());
        Self {
            shape,
            normalization,
            augmentation,
            epoch_seed: None,
        }
    }
}

impl EpochBatcher for SmallImagesBatcher {
    fn of_epoch(&self, seed: u64) -> Self {
        Self {
            epoch_seed: Some(seed),
            ..self.clone()
        }
    }
}

impl<B: Backend> Batcher<B, SmallImage, ImageBatch<B>> for SmallImagesBatcher {
    fn batch(&self, items: Vec<SmallImage>, device: &B::Device) -> ImageBatch<B> {
        let ImageShape { size, channels, .. } = self.shape;
        let mut values = Vec::with_capacity(items.len() * channels * size * size);
        for item in &items {
            match self.epoch_seed {
                None => self.normalization.extend(&mut values, &item.pixels),
                Some(seed) => {
                    let pixels = self.augmentation.apply(item, self.shape, seed);
                    self.normalization.extend(&mut values, &pixels);
                }
            }
        }
        let labels: Vec<i64> = items.iter().map(|item| item.label as i64).collect();

        ImageBatch {
            images: Tensor::from_data(
                TensorData::new(values, [items.len(), channels, size, size]),
                device,
            ),
            targets: Tensor::from_data(TensorData::new(labels, [items.len()]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mac_burn_examples::backend::Selected;

    const SHAPE: ImageShape = ImageShape {
        size: 2,
        channels: 1,
        classes: 9,
    };

    fn batcher() -> SmallImagesBatcher {
        let normalization = Normalization::new(vec![4.0], vec![2.0]);
        SmallImagesBatcher::new(SHAPE, normalization, Augmentation::new(2, false))
    }

    fn values(batcher: &SmallImagesBatcher) -> (Vec<f32>, Vec<i64>) {
        let image = |index: usize| SmallImage {
            pixels: vec![4, 6, 8, 10],
            label: 8 - index,
            index,
        };
        let batch: ImageBatch<Selected> =
            batcher.batch((0..3).map(image).collect(), &Default::default());
        assert_eq!(batch.images.dims(), [3, 1, 2, 2]);
        let [images, targets] = [batch.images.into_data(), batch.targets.into_data()];
        (images.iter().collect(), targets.iter().collect())
    }

    #[test]
    fn images_are_changed_in_epochs_only() {
        let (images, targets) = values(&batcher());
        assert_eq!(images, [0.0, 1.0, 2.0, 3.0].repeat(3));
        assert_eq!(targets, [8, 7, 6]);

        let (changed, targets) = values(&batcher().of_epoch(3));
        assert_ne!(changed, images);
        assert_eq!(targets, [8, 7, 6]);
    }

    /// The frame is of zeros before the normalization, as in the authors' code; after it, it would be of zeros here.
    #[test]
    fn the_frame_is_normalized_too() {
        let (changed, _) = values(&batcher().of_epoch(3));
        assert!(changed.contains(&-2.0), "{changed:?}");
    }
}
