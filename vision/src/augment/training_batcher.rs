use burn::data::dataloader::batcher::Batcher;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use image::{RgbImage, imageops};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{
    AutomaticAugmentation, HostBatch, MixedBatch, Mixing, Normalization, RandomErasing,
    RandomResizedCrop, soft_targets,
};
use crate::learner::{BatchError, EpochBatcher, Repeated};
use mac_burn_examples::image_files::{FolderError, ImageFile};
use mac_burn_examples::training::stream;

/// Makes batches to train on out of files: each image is read, cropped at random, flipped with a probability of 0.5, changed
/// automatically, standardised and erased in part, then the batch is mixed. That is torchvision's order; timm's erases after
/// it has mixed.
///
/// All that is random depends on the seed and, for an image, on its place in the list of files and on which of its repeats it
/// is; for the mixture on those of the first image of the batch.
///
/// An image is mixed with the one as far from the end of the batch as it is from the beginning. Where each comes several times
/// in a row, that is another image, but for two at the middle of a batch if a row lies across it: they are mixed with each other.
#[derive(Clone, Debug)]
pub struct TrainingBatcher {
    /// The crop.
    pub crop: RandomResizedCrop,
    /// Changes of color and shape.
    pub automatic: Option<AutomaticAugmentation>,
    /// The normalization of pixels.
    pub normalization: Normalization,
    /// The erasing of a part of an image.
    pub erasing: Option<RandomErasing>,
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
    /// The images of a batch, each of which is read once for all of its repeats.
    fn images(&self, files: &[Repeated<ImageFile>]) -> Result<HostBatch, FolderError> {
        let mut images = HostBatch::new([self.crop.size; 2], files.len());
        for repeats in files.chunk_by(|file, next| file.item.index == next.item.index) {
            let whole = repeats[0].item.decode()?;
            for file in repeats {
                let mut rng = self.rng(file.item.index, file.repeat);
                self.push(&whole, &mut images, &mut rng);
            }
        }
        Ok(images)
    }

    /// Adds a change of an image.
    fn push(&self, whole: &RgbImage, images: &mut HostBatch, rng: &mut StdRng) {
        let mut image = self.crop.apply(whole, rng);
        if rng.random_bool(0.5) {
            imageops::flip_horizontal_in_place(&mut image);
        }
        if let Some(automatic) = self.automatic {
            image = automatic.apply(image, rng);
        }
        let values = images.push(&image, &self.normalization);
        if let Some(erasing) = &self.erasing {
            erasing.apply(values, [self.crop.size; 2], rng);
        }
    }

    /// The random numbers of a part of the epoch, in one of its repeats.
    fn rng(&self, part: usize, repeat: usize) -> StdRng {
        StdRng::seed_from_u64(stream(stream(self.seed, part), repeat))
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

impl<B: Backend> Batcher<B, Repeated<ImageFile>, Result<MixedBatch<B>, BatchError>>
    for TrainingBatcher
{
    fn batch(
        &self,
        files: Vec<Repeated<ImageFile>>,
        device: &B::Device,
    ) -> Result<MixedBatch<B>, BatchError> {
        let images = self.images(&files)?.into_tensor::<B>(device);
        let labels: Vec<i64> = files.iter().map(|file| file.item.label as i64).collect();
        let labels = Tensor::from_data(TensorData::new(labels, [files.len()]), device);
        let targets = soft_targets(labels.clone(), self.classes, self.label_smoothing);

        // The complement of an index is that of no image.
        let first = files.first();
        let (mixture, repeat) = first.map_or((0, 0), |file| (!file.item.index, file.repeat));
        let mut rng = self.rng(mixture, repeat);
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
    use clap::ValueEnum;
    use image::Rgb;
    use mac_burn_examples::backend::Selected;
    use tempfile::TempDir;

    /// A folder with three images, each of one color on the left and another on the right, in shades by which any two parts differ.
    fn files() -> (TempDir, Vec<ImageFile>) {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        let files = (0..3).map(|index| {
            let path = root.path().join(format!("{index}.png"));
            let image = RgbImage::from_fn(24, 16, |x, y| {
                let shade = (4 * x + 3 * y) as u8;
                match x < 12 {
                    true => Rgb([200, 20 + shade, 40 * index as u8]),
                    false => Rgb([10, 250 - shade, 255]),
                }
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
            automatic: None,
            normalization: Normalization::imagenet(),
            erasing: None,
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

    /// The files, each for the first time.
    fn once(files: &[ImageFile]) -> Vec<Repeated<ImageFile>> {
        files.iter().map(|file| repeated(file, 0)).collect()
    }

    fn repeated(file: &ImageFile, repeat: usize) -> Repeated<ImageFile> {
        let item = file.clone();
        Repeated { item, repeat }
    }

    fn batch(batcher: &TrainingBatcher, files: &[ImageFile]) -> MixedBatch<Selected> {
        batch_of(batcher, once(files))
    }

    fn batch_of(
        batcher: &TrainingBatcher,
        files: Vec<Repeated<ImageFile>>,
    ) -> MixedBatch<Selected> {
        let batch = batcher.batch(files, &Default::default());
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

    /// Breaks when repeats are the same, when the numbers of one are drawn after those of the repeats before it in the batch, or
    /// when it is numbered by its place in the batch: rows of repeats continue in the next one.
    #[test]
    fn a_repeat_is_changed_in_its_own_way_whatever_its_batch() {
        let (_root, files) = files();
        let row: Vec<_> = (0..3).map(|repeat| repeated(&files[0], repeat)).collect();
        let [first, second, third] = {
            let whole = batch_of(&batcher(1, OFF), row.clone());
            [0, 1, 2].map(|index| image(&whole, index))
        };
        assert!(first != second && second != third && third != first);

        let next = vec![row[2].clone(), repeated(&files[1], 0)];
        let next = batch_of(&batcher(1, OFF), next);
        assert_eq!(image(&next, 0), third);
    }

    /// Breaks when batches that begin with repeats of one image have one mixture, as those of less images than repeats do.
    #[test]
    fn batches_of_the_repeats_of_an_image_are_mixed_in_their_own_way() {
        let (_root, files) = files();
        let mixup = Mixing { mixup: 0.8, ..OFF };
        let targets = |repeat| {
            let files = vec![repeated(&files[0], repeat), repeated(&files[1], 0)];
            let batch = batch_of(&batcher(1, mixup), files);
            batch.targets.into_data().iter().collect::<Vec<f32>>()
        };
        assert_ne!(targets(0), targets(1));
    }

    /// Breaks when what is erased is not standardised yet (and not 0 afterwards), or erasing draws its numbers before the crop and
    /// the flip do.
    #[test]
    fn a_part_of_the_standardised_image_is_erased() {
        let (_root, files) = files();
        let whole = batcher(1, OFF);
        let erasing = TrainingBatcher {
            erasing: Some(RandomErasing::torchvision(1.0)),
            ..whole.clone()
        };
        let [whole, erased] = [whole, erasing].map(|batcher| image(&batch(&batcher, &files), 0));
        let zeros = erased.iter().filter(|value| **value == 0.0).count();
        assert!((3..erased.len()).contains(&zeros), "{zeros}");
        let mut values = whole.iter().zip(&erased);
        assert!(values.all(|(whole, erased)| *erased == 0.0 || erased == whole));
    }

    /// Breaks when automatic augmentation is left out. Its operations leave some images as they are: with no change, or with one
    /// that such an image does not show.
    #[test]
    fn images_are_changed_automatically() {
        let (_root, files) = files();
        for automatic in AutomaticAugmentation::value_variants() {
            let changed = (0..20).filter(|seed| {
                let plain = batcher(*seed, OFF);
                let changing = TrainingBatcher {
                    automatic: Some(*automatic),
                    ..plain.clone()
                };
                let [plain, changed] =
                    [plain, changing].map(|batcher| image(&batch(&batcher, &files[..1]), 0));
                plain != changed
            });
            assert!(changed.count() >= 8, "{automatic:?}");
        }
    }

    /// Breaks when an image is never or always flipped: the left is redder than the right in all or none then.
    #[test]
    fn half_of_the_images_are_flipped() {
        let (_root, files) = files();
        let whole = |seed| TrainingBatcher {
            crop: RandomResizedCrop {
                scale: [1.0, 1.0],
                ratio: [1.5, 1.5],
                ..RandomResizedCrop::new(8)
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
            batcher(0, OFF).batch(once(&files), &Default::default());
        let error = result.expect_err("it is no image").to_string();
        assert!(error.contains("1.png: "), "{error}");
    }
}
