use burn::config::Config;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{ImageShape, SmallImage};
use mac_burn_examples::training::stream;

/// How training images are changed at random.
#[derive(Config, Debug, PartialEq)]
pub struct Augmentation {
    /// The width of a frame of zeros around an image, out of which an image of the same size is cropped: each of the
    /// `(2 padding + 1)²` crops is as likely as the others.
    pub padding: usize,
    /// Whether every second image, at random, is mirrored left to right.
    pub flip: bool,
}

impl Augmentation {
    /// The values of the image as an epoch with this seed sees it, which differ from image to image.
    ///
    /// # Shapes
    /// - output: `[channels, size, size]`, as the image's
    pub fn apply(&self, image: &SmallImage, shape: ImageShape, seed: u64) -> Vec<u8> {
        let mut random = StdRng::seed_from_u64(stream(seed, image.index));
        let crop = [(); 2].map(|()| random.random_range(0..=2 * self.padding));
        let flipped = self.flip && random.random();
        let mut pixels = cropped(&image.pixels, shape.size, self.padding, crop);
        if flipped {
            pixels.chunks_mut(shape.size).for_each(<[u8]>::reverse);
        }
        pixels
    }
}

/// The part of an image in its frame that begins at the row and the column `[top, left]` of the frame.
fn cropped(pixels: &[u8], size: usize, padding: usize, [top, left]: [usize; 2]) -> Vec<u8> {
    let mut crop = vec![0; pixels.len()];
    // The columns that image and crop share: the crop begins `left - padding` to the right of the image.
    let (from, to) = (left.saturating_sub(padding), padding.saturating_sub(left));
    let width = size.saturating_sub(from.max(to));
    if width == 0 {
        return crop;
    }
    let channels = pixels.chunks(size * size).zip(crop.chunks_mut(size * size));
    for (image, crop) in channels {
        for (row, target) in crop.chunks_mut(size).enumerate() {
            let source = (row + top).checked_sub(padding).filter(|row| *row < size);
            if let Some(source) = source {
                let source = &image[source * size..][..size];
                target[to..][..width].copy_from_slice(&source[from..][..width]);
            }
        }
    }
    crop
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const SHAPE: ImageShape = ImageShape {
        size: 3,
        channels: 2,
        classes: 1,
    };

    fn image(index: usize) -> SmallImage {
        SmallImage {
            pixels: (1..=18).collect(),
            label: 0,
            index,
        }
    }

    /// A shift in the wrong direction, or a frame that wraps around, would show here.
    #[test]
    fn a_crop_is_the_shifted_image_with_zeros() {
        let crop = |corner| cropped(&image(0).pixels, 3, 1, corner);

        assert_eq!(crop([1, 1]), image(0).pixels);
        assert_eq!(
            crop([0, 2]),
            [0, 0, 0, 2, 3, 0, 5, 6, 0, 0, 0, 0, 11, 12, 0, 14, 15, 0]
        );
        assert_eq!(
            crop([2, 0]),
            [0, 4, 5, 0, 7, 8, 0, 0, 0, 0, 13, 14, 0, 16, 17, 0, 0, 0]
        );
    }

    #[test]
    fn a_crop_of_nothing_but_the_frame_is_zeros() {
        for corner in [[0, 8], [4, 0], [4, 8], [8, 4]] {
            assert_eq!(cropped(&image(0).pixels, 3, 4, corner), [0; 18]);
        }
    }

    #[test]
    fn a_flip_mirrors_each_row_of_each_channel() {
        let augmentation = Augmentation::new(0, true);
        let mirrored = [
            3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10, 15, 14, 13, 18, 17, 16,
        ];

        let flips = (0..400)
            .map(|index| augmentation.apply(&image(index), SHAPE, 5))
            .filter(|pixels| match *pixels == mirrored {
                true => true,
                false => {
                    assert_eq!(*pixels, image(0).pixels);
                    false
                }
            })
            .count();

        // Five standard deviations of a fair coin are 50; the seed is fixed, so the number is always the same.
        assert!((150..250).contains(&flips), "{flips} of 400");
    }

    /// All of them, and no other: an offset that is drawn from a smaller interval would show here.
    #[test]
    fn all_crops_are_made() {
        let augmentation = Augmentation::new(1, false);
        let expected: HashSet<_> = (0..3)
            .flat_map(|top| (0..3).map(move |left| [top, left]))
            .map(|corner| cropped(&image(0).pixels, 3, 1, corner))
            .collect();

        let made: HashSet<_> = (0..200)
            .map(|index| augmentation.apply(&image(index), SHAPE, 5))
            .collect();

        assert_eq!(made, expected);
    }

    #[test]
    fn what_an_image_becomes_depends_on_the_epoch_and_the_image() {
        let augmentation = Augmentation::new(4, true);
        let epoch = |seed| {
            let images = (0..20).map(|index| augmentation.apply(&image(index), SHAPE, seed));
            images.collect::<Vec<_>>()
        };

        assert_eq!(epoch(1), epoch(1));
        assert_ne!(epoch(1), epoch(2));
        assert_ne!(epoch(1)[0], epoch(1)[1]);
    }
}
