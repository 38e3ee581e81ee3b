use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;

/// How training images are changed at random.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Augmentation {
    /// The width of a frame of zeros around an image, out of which an image of the same size is cropped: each of the
    /// `(2 padding + 1)²` crops is as likely as the others.
    pub padding: usize,
    /// Whether every second image, at random, is mirrored left to right.
    pub flip: bool,
}

impl Augmentation {
    /// The pixels of an image, `[channels, size, size]`, as they are changed by these random numbers.
    pub fn apply(&self, pixels: &[u8], size: usize, random: &mut StdRng) -> Vec<u8> {
        let crop = [(); 2].map(|()| random.random_range(0..=2 * self.padding));
        let flipped = self.flip && random.random();
        let mut pixels = cropped(pixels, size, self.padding, crop);
        if flipped {
            pixels.chunks_mut(size).for_each(<[u8]>::reverse);
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
    use crate::batches::random;
    use std::collections::HashSet;

    const SIZE: usize = 3;

    /// Of two channels.
    fn pixels() -> Vec<u8> {
        (1..=18).collect()
    }

    /// The image in as many places of a step.
    fn changed(augmentation: Augmentation, places: usize) -> impl Iterator<Item = Vec<u8>> {
        (0..places).map(move |place| {
            let random = &mut random(5, 0, place);
            augmentation.apply(&pixels(), SIZE, random)
        })
    }

    /// A shift in the wrong direction, or a frame that wraps around, would show here.
    #[test]
    fn a_crop_is_the_shifted_image_with_zeros() {
        let crop = |corner| cropped(&pixels(), 3, 1, corner);

        assert_eq!(crop([1, 1]), pixels());
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
            assert_eq!(cropped(&pixels(), 3, 4, corner), [0; 18]);
        }
    }

    #[test]
    fn a_flip_mirrors_each_row_of_each_channel() {
        let augmentation = Augmentation {
            padding: 0,
            flip: true,
        };
        let mirrored = [
            3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10, 15, 14, 13, 18, 17, 16,
        ];

        let flips = changed(augmentation, 400)
            .filter(|changed| match *changed == mirrored {
                true => true,
                false => {
                    assert_eq!(*changed, pixels());
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
        let augmentation = Augmentation {
            padding: 1,
            flip: false,
        };
        let expected: HashSet<_> = (0..3)
            .flat_map(|top| (0..3).map(move |left| [top, left]))
            .map(|corner| cropped(&pixels(), 3, 1, corner))
            .collect();

        let made: HashSet<_> = changed(augmentation, 200).collect();

        assert_eq!(made, expected);
    }
}
