use burn::data::dataloader::batcher::Batcher;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use image::{RgbImage, imageops};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{MixedBatch, Mixing, Normalization, RandomResizedCrop, soft_targets};
use crate::image_files::{FolderError, ImageFile};
use crate::learner::{BatchError, EpochBatcher};
use crate::training::stream;

/// Makes batches to train on out of files: each image is read, cropped at random and flipped with a probability of 0.5, then
/// the batch is mixed.
///
/// All that is random depends on the seed and, for an image, on its place in the list of files; for the mixture on that of
/// the first image of the batch.
#[derive(Clone, Debug)]
pub struct TrainingBatcher {
    /// The crop.
    pub crop: RandomResizedCrop,
    /// What makes numbers of pixels.
    pub normalization: Normalization,
    /// How batches are mixed.
    pub mixing: Mixing,
    /// The number of classes.
    pub classes: usize,
    /// The share of the targets that is spread over all classes, in [0, 1].
    pub label_smoothing: f64,
    /// The seed of an epoch.
    pub seed: u64,
}

impl TrainingBatcher {
    fn image(&self, file: &ImageFile) -> Result<RgbImage, FolderError> {
        let mut rng = StdRng::seed_from_u64(stream(self.seed, file.index));
        let image = self.crop.apply(&file.decode()?, &mut rng);
        match rng.random_bool(0.5) {
            true => Ok(imageops::flip_horizontal(&image)),
            false => Ok(image),
        }
    }
}

impl EpochBatcher for TrainingBatcher {
    fn of_epoch(&self, seed: u64) -> Self {
        Self {
            seed,
            ..self.clone()
        }
    }
}

impl<B: Backend> Batcher<B, ImageFile, Result<MixedBatch<B>, BatchError>> for TrainingBatcher {
    fn batch(
        &self,
        files: Vec<ImageFile>,
        device: &B::Device,
    ) -> Result<MixedBatch<B>, BatchError> {
        let images: Result<Vec<_>, _> = files.iter().map(|file| self.image(file)).collect();
        let images = self.normalization.batch::<B>(&images?, device);
        let labels: Vec<i64> = files.iter().map(|file| file.label as i64).collect();
        let labels = Tensor::from_data(TensorData::new(labels, [files.len()]), device);
        let targets = soft_targets(labels.clone(), self.classes, self.label_smoothing);

        // The complement of an index is that of no image.
        let mixture = files.first().map_or(0, |file| !file.index);
        let mut rng = StdRng::seed_from_u64(stream(self.seed, mixture));
        let size = [self.crop.size; 2];
        let mix = self.mixing.draw(size, &mut rng);
        Ok(MixedBatch {
            images: mix.images(images),
            targets: mix.targets(targets, size),
            labels: mix.labels(labels, size),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;
    use image::Rgb;
    use tempfile::TempDir;

    /// A folder with three images, each of one color on the left and another on the right.
    fn files() -> (TempDir, Vec<ImageFile>) {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        let files = (0..3).map(|index| {
            let path = root.path().join(format!("{index}.png"));
            let image = RgbImage::from_fn(24, 16, |x, _| match x < 12 {
                true => Rgb([200, 20, 40 * index as u8]),
                false => Rgb([10, 120, 255]),
            });
            image.save(&path).expect("it can be written");
            let label = index;
            ImageFile { path, label, index }
        });
        let files = files.collect();
        (root, files)
    }

    fn batcher(seed: u64, mixing: Mixing) -> TrainingBatcher {
        TrainingBatcher {
            crop: RandomResizedCrop::new(8),
            normalization: Normalization::imagenet(),
            mixing,
            classes: 3,
            label_smoothing: 0.1,
            seed,
        }
    }

    const OFF: Mixing = Mixing {
        mixup: 0.0,
        cutmix: 0.0,
    };

    fn batch(batcher: &TrainingBatcher, files: &[ImageFile]) -> MixedBatch<Selected> {
        let batch = batcher.batch(files.to_vec(), &Default::default());
        batch.expect("the files are images")
    }

    fn image(batch: &MixedBatch<Selected>, index: usize) -> Vec<f32> {
        let image = batch.images.clone().narrow(0, index, 1);
        image.into_data().iter().collect()
    }

    /// Breaks when the numbers of an image are drawn after those of the images before it, or not by the seed.
    #[test]
    fn an_image_is_changed_by_its_seed_and_place_alone() {
        let (_root, files) = files();
        let reversed: Vec<_> = files.iter().rev().cloned().collect();
        let [first, again] = [&files, &reversed].map(|files| batch(&batcher(1, OFF), files));
        for index in 0..3 {
            assert_eq!(image(&first, index), image(&again, 2 - index));
        }
        let next = batch(&batcher(1, OFF).of_epoch(2), &files);
        assert_ne!(image(&first, 0), image(&next, 0));
    }

    /// Breaks when an image is never or always flipped: the left is redder than the right in all or none then.
    #[test]
    fn half_of_the_images_are_flipped() {
        let (_root, files) = files();
        let whole = |seed| TrainingBatcher {
            crop: RandomResizedCrop {
                scale: [1.0, 1.0],
                ratio: [1.5, 1.5],
                size: 8,
            },
            ..batcher(seed, OFF)
        };
        let left = (0..100).filter(|seed| {
            let red = image(&batch(&whole(*seed), &files[..1]), 0);
            red[0] > red[7]
        });
        // Of 100 fair draws, four standard deviations.
        assert!((30..=70).contains(&left.count()));
    }

    #[test]
    fn targets_of_mixed_batches_add_up_to_one() {
        let (_root, files) = files();
        let mixing = Mixing {
            mixup: 0.8,
            cutmix: 1.0,
        };
        for seed in 0..8 {
            let batch = batch(&batcher(seed, mixing), &files);
            assert_eq!(batch.images.dims(), [3, 3, 8, 8]);
            let targets: Vec<f32> = batch.targets.into_data().iter().collect();
            for target in targets.chunks(3) {
                assert!(
                    (target.iter().sum::<f32>() - 1.0).abs() < 1e-6,
                    "{target:?}"
                );
            }
        }
    }

    #[test]
    fn a_broken_file_is_named() {
        let (root, files) = files();
        std::fs::write(root.path().join("1.png"), "text").expect("it can be written");
        let result: Result<MixedBatch<Selected>, _> =
            batcher(0, OFF).batch(files, &Default::default());
        let error = result.expect_err("it is no image").to_string();
        assert!(error.contains("1.png: "), "{error}");
    }
}
