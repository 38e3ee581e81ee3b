mod augmentation;

use std::sync::Arc;

use mac_burn_examples::images::{HostBatch, Image, Images};
use mac_burn_examples::training::Batches;

use crate::ImageBatches;
use crate::augment::Mix;
use crate::batches::{BatchMaker, random};

pub use augmentation::Augmentation;

/// Images that are validated on at a time.
const BATCH: usize = 128;

/// A data set of images in memory that training changes as the authors' code for CIFAR does: a random crop of the image in a frame
/// of zeros, a flip of every second image, and a normalization of each channel.
#[derive(Clone, Debug)]
pub struct AugmentedImages {
    /// The images.
    pub images: Images,
    /// How those to train on are changed.
    pub augmentation: Augmentation,
}

impl AugmentedImages {
    /// The batches of a run with a seed, made by as many threads. The first layer's inputs are measured on the images of an epoch.
    pub fn batches(self, batch_size: usize, seed: u64, workers: usize) -> ImageBatches {
        let images = Arc::new(self);
        let maker = |seed| {
            let images = Arc::clone(&images);
            let order = Batches::new(images.images.train.len(), batch_size, seed);
            let epoch = order.steps_of_an_epoch();
            let batch = move |step| images.training_batch(&order.of_step(step), seed, step);
            (batch, epoch)
        };
        let (train, _) = maker(seed);
        // Not in the order of an epoch of the training, nor changed as there.
        let (measured, epoch) = maker(!seed);
        let valid = Arc::clone(&images);
        ImageBatches {
            train: BatchMaker::new(workers, move |step| Some(Ok((train(step), Mix::Nothing)))),
            measured: BatchMaker::new(workers, move |step| {
                (step < epoch).then(|| Ok(measured(step)))
            }),
            valid: BatchMaker::new(workers, move |index| {
                let images = valid.images.valid.chunks(BATCH).nth(index)?;
                Some(Ok(valid.validation_batch(images)))
            }),
        }
    }

    /// The batch of a step, of these images of the training set.
    fn training_batch(&self, images: &[usize], seed: u64, step: usize) -> HostBatch {
        let mut batch = self.images.empty_batch(images.len());
        for (place, index) in images.iter().enumerate() {
            let (image, random) = (&self.images.train[*index], &mut random(seed, step, place));
            let size = self.images.shape.size;
            let pixels = self.augmentation.apply(&image.pixels, size, random);
            self.images.push(&pixels, image.label, &mut batch);
        }
        batch
    }

    fn validation_batch(&self, images: &[Image]) -> HostBatch {
        let mut batch = self.images.empty_batch(images.len());
        for image in images {
            self.images.push(&image.pixels, image.label, &mut batch);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mac_burn_examples::backend::Selected;
    use mac_burn_examples::images::{ImageShape, Normalization};

    fn images() -> AugmentedImages {
        let image = |label| Image {
            pixels: vec![4, 6, 8, 10],
            label,
        };
        AugmentedImages {
            images: Images {
                train: (0..6).map(image).collect(),
                valid: (0..200).map(image).collect(),
                shape: ImageShape {
                    size: 2,
                    channels: 1,
                    classes: 200,
                },
                normalization: Normalization::new(vec![4.0], vec![2.0]),
            },
            augmentation: Augmentation {
                padding: 2,
                flip: false,
            },
        }
    }

    fn values(batch: HostBatch) -> (Vec<f32>, Vec<i64>) {
        let batch = batch.into_batch::<Selected>(&Default::default());
        let [images, labels] = [batch.images.into_data(), batch.targets.into_data()];
        (images.iter().collect(), labels.iter().collect())
    }

    #[test]
    fn images_are_validated_as_they_are_and_each_once() {
        let batches = images().batches(3, 1, 0).valid.starting_at(0);
        let batches: Result<Vec<_>, _> = batches.collect();
        let batches: Vec<_> = batches
            .expect("they are in memory")
            .into_iter()
            .map(values)
            .collect();
        assert_eq!(batches[0].0, [0.0, 1.0, 2.0, 3.0].repeat(BATCH));
        let labels: Vec<i64> = batches.into_iter().flat_map(|(_, labels)| labels).collect();
        assert_eq!(labels, (0..200).collect::<Vec<_>>());
    }

    /// Breaks when the frame is of zeros after the normalization and not before it, or when images are not changed, or in each step
    /// alike, or what is measured is what is trained on.
    #[test]
    fn training_images_are_changed_by_the_step() {
        let batches = images().batches(6, 1, 0);
        let mut train = batches.train.starting_at(0);
        let mut next = || {
            values(
                train
                    .next()
                    .expect("there are all steps")
                    .expect("it is in memory")
                    .0,
            )
        };
        let (first, second) = (next(), next());
        assert!(first.0.contains(&-2.0), "{first:?}");
        assert_ne!(first.0, second.0);
        assert_ne!(first.1, second.1, "the order of the next epoch is another");
        let mut measured = batches.measured.starting_at(0);
        let only = values(
            measured
                .next()
                .expect("an epoch has one batch")
                .expect("it is in memory"),
        );
        assert!(measured.next().is_none());
        assert_ne!(only.0, first.0);
        for (_, mut labels) in [first, second, only] {
            labels.sort_unstable();
            assert_eq!(labels, [0, 1, 2, 3, 4, 5]);
        }
    }
}
