//! Images that are so small that all of them are held in memory, and how training changes them.
//!
//! The changes are those of the authors' code for CIFAR: a random crop of the image in a frame of zeros, a flip of every
//! second image, and a normalization of each channel.

mod augmentation;

use std::sync::Arc;

use mac_burn_examples::training::Batches;

use crate::augment::Mix;
use crate::batches::{BatchMaker, HostBatch, random};
use crate::{ImageBatches, Normalization};

pub use augmentation::Augmentation;

/// Images that are validated on at a time.
const BATCH: usize = 128;

/// An image in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct SmallImage {
    /// The values of each channel in turn, row by row: `[channels, size, size]`.
    pub pixels: Vec<u8>,
    /// Its class.
    pub label: usize,
}

/// The shape that all images of a set have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Height and width.
    pub size: usize,
    /// The number of channels.
    pub channels: usize,
    /// The number of classes.
    pub classes: usize,
}

/// A data set of small images.
#[derive(Clone, Debug)]
pub struct SmallImages {
    /// The images to train on.
    pub train: Vec<SmallImage>,
    /// The images to validate on.
    pub valid: Vec<SmallImage>,
    /// Their shape.
    pub shape: ImageShape,
    /// The normalization of pixels.
    pub normalization: Normalization,
    /// How training images are changed.
    pub augmentation: Augmentation,
}

impl SmallImages {
    /// The batches of a run with a seed, made by as many threads. The first layer's inputs are measured on the images of an epoch.
    pub fn batches(self, batch_size: usize, seed: u64, workers: usize) -> ImageBatches {
        let images = Arc::new(self);
        let maker = |seed| {
            let images = Arc::clone(&images);
            let order = Batches::new(images.train.len(), batch_size, seed);
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
                Some(Ok(
                    valid.validation_batch(valid.valid.chunks(BATCH).nth(index)?)
                ))
            }),
        }
    }

    /// The batch of a step, of these images of the training set.
    fn training_batch(&self, images: &[usize], seed: u64, step: usize) -> HostBatch {
        let mut batch = self.empty_batch(images.len());
        for (place, index) in images.iter().enumerate() {
            let (image, random) = (&self.train[*index], &mut random(seed, step, place));
            let pixels = self
                .augmentation
                .apply(&image.pixels, self.shape.size, random);
            batch.push(image.label, |values| {
                self.normalization.append(&pixels, values)
            });
        }
        batch
    }

    fn validation_batch(&self, images: &[SmallImage]) -> HostBatch {
        let mut batch = self.empty_batch(images.len());
        for image in images {
            batch.push(image.label, |values| {
                self.normalization.append(&image.pixels, values)
            });
        }
        batch
    }

    fn empty_batch(&self, images: usize) -> HostBatch {
        let ImageShape { size, channels, .. } = self.shape;
        HostBatch::new([channels, size, size], images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mac_burn_examples::backend::Selected;

    fn images() -> SmallImages {
        let image = |label| SmallImage {
            pixels: vec![4, 6, 8, 10],
            label,
        };
        SmallImages {
            train: (0..6).map(image).collect(),
            valid: (0..200).map(image).collect(),
            shape: ImageShape {
                size: 2,
                channels: 1,
                classes: 200,
            },
            normalization: Normalization::new(vec![4.0], vec![2.0]),
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
