use image::{RgbImage, imageops};
use mac_burn_examples::images::files::{FolderError, ImageFile};
use mac_burn_examples::images::{HostBatch, Normalization};
use rand::RngExt;
use rand::rngs::StdRng;

use super::{AutomaticAugmentation, Mix, Mixing, RandomErasing, RandomResizedCrop};
use crate::batches::random;

/// Makes batches to train on out of files: each image is read, cropped at random, flipped with a probability of 0.5, changed
/// automatically, standardised and erased in part; then it is drawn how the batch is mixed. That is torchvision's order; timm's
/// erases after it has mixed.
///
/// All that is random depends on the seed, the step and, for an image, on its place in the batch.
///
/// An image is mixed with the one as far from the end of the batch as it is from the beginning. Where each comes several times
/// in a row, that is another image, but for two at the middle of a batch if a row lies across it: they are mixed with each other.
#[derive(Clone, Debug)]
pub struct TrainingImages {
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
    /// The seed of a run.
    pub seed: u64,
}

impl TrainingImages {
    /// The batch of a step, in which an image that comes several times in a row is read once.
    ///
    /// # Errors
    /// If a file is no image.
    pub fn batch(
        &self,
        files: &[&ImageFile],
        step: usize,
    ) -> Result<(HostBatch, Mix), FolderError> {
        let size = [self.crop.size; 2];
        let mut images = HostBatch::new(
            [self.normalization.channels(), size[0], size[1]],
            files.len(),
        );
        let mut place = 0;
        for repeats in files.chunk_by(|file, next| file.path == next.path) {
            let whole = repeats[0].decode()?;
            for file in repeats {
                let mut rng = random(self.seed, step, place);
                self.push(&whole, file.label, &mut images, &mut rng);
                place += 1;
            }
        }
        // The place after the last image.
        let mix = self.mixing.draw(size, &mut random(self.seed, step, place));
        Ok((images, mix))
    }

    /// Adds a change of an image.
    fn push(&self, whole: &RgbImage, label: usize, images: &mut HostBatch, rng: &mut StdRng) {
        let mut image = self.crop.apply(whole, rng);
        if rng.random_bool(0.5) {
            imageops::flip_horizontal_in_place(&mut image);
        }
        if let Some(automatic) = self.automatic {
            image = automatic.apply(image, rng);
        }
        let values = images.push(label, |values| {
            self.normalization
                .append_interleaved(image.as_raw(), values)
        });
        if let Some(erasing) = &self.erasing {
            erasing.apply(values, [self.crop.size; 2], rng);
        }
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
            ImageFile { path, label: index }
        });
        let files = files.collect();
        (root, files)
    }

    fn batcher(seed: u64, mixing: Mixing) -> TrainingImages {
        TrainingImages {
            crop: RandomResizedCrop::new(8),
            automatic: None,
            normalization: Normalization::imagenet(),
            erasing: None,
            mixing,
            seed,
        }
    }

    const OFF: Mixing = Mixing {
        mixup: 0.0,
        cutmix: 0.0,
    };

    fn batch(images: &TrainingImages, files: &[ImageFile]) -> HostBatch {
        batch_of(images, &files.iter().collect::<Vec<_>>(), 0).0
    }

    fn batch_of(images: &TrainingImages, files: &[&ImageFile], step: usize) -> (HostBatch, Mix) {
        images.batch(files, step).expect("the files are images")
    }

    fn image(batch: &HostBatch, index: usize) -> Vec<f32> {
        let batch = batch.clone().into_batch::<Selected>(&Default::default());
        let image = batch.images.narrow(0, index, 1);
        image.into_data().iter().collect()
    }

    /// Breaks when the numbers of an image are drawn after those of the images before it, which are others here, or not by the
    /// seed, the step and the place.
    #[test]
    fn an_image_is_changed_by_the_seed_the_step_and_its_place_alone() {
        let (_root, files) = files();
        let row = |before: &ImageFile, seed, step| {
            let files = [before, &files[2], &files[2]];
            let batch = batch_of(&batcher(seed, OFF), &files, step).0;
            [image(&batch, 1), image(&batch, 2)]
        };
        let first = row(&files[0], 1, 7);
        assert_eq!(row(&files[1], 1, 7), first);
        assert_ne!(first[0], first[1], "a repeat is changed in its own way");
        assert_ne!(row(&files[0], 2, 7)[0], first[0]);
        assert_ne!(row(&files[0], 1, 8)[0], first[0]);
    }

    /// Breaks when all batches of a run have one mixture, or its numbers are those of an image.
    #[test]
    fn each_batch_is_mixed_in_its_own_way() {
        let (_root, files) = files();
        let mixing = Mixing {
            mixup: 0.8,
            cutmix: 1.0,
        };
        let mix = |step| batch_of(&batcher(1, mixing), &[&files[0], &files[1]], step).1;
        assert_eq!(mix(0), mix(0));
        assert_ne!(mix(0), mix(1));
    }

    /// Breaks when what is erased is not standardised yet (and not 0 afterwards), or erasing draws its numbers before the crop and
    /// the flip do.
    #[test]
    fn a_part_of_the_standardised_image_is_erased() {
        let (_root, files) = files();
        let whole = batcher(1, OFF);
        let erasing = TrainingImages {
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
                let changing = TrainingImages {
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
        let whole = |seed| TrainingImages {
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
    fn a_broken_file_is_named() {
        let (root, files) = files();
        std::fs::write(root.path().join("1.png"), "text").expect("it can be written");
        let all: Vec<_> = files.iter().collect();
        let error = batcher(0, OFF).batch(&all, 0).expect_err("it is no image");
        assert!(error.to_string().contains("1.png: "), "{error}");
    }
}
