use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::Window;
use super::random_window::RandomWindow;

/// Erases a part of an image of random area, aspect ratio and place.
///
/// Of Z. Zhong et al., [arXiv:1708.04896](https://arxiv.org/abs/1708.04896), as torchvision's and timm's: the area is uniform
/// in [`scale`](Self::scale) times the image's, the logarithm of width by height uniform in that of [`ratio`](Self::ratio). A
/// part is smaller than the image in both directions; where ten draws are not, the image is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandomErasing {
    /// The probability that an image is changed, in [0, 1].
    pub probability: f64,
    /// The smallest and the largest share of the area, in (0, 1].
    pub scale: [f64; 2],
    /// The smallest and the largest width by height, above 0.
    pub ratio: [f64; 2],
    /// The contents of the erased part.
    pub filling: Filling,
}

/// The filling of an erased part. Images are standardised before, so these are relative to the mean and the deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filling {
    /// The mean color, which is 0.
    Mean,
    /// A number from the standard normal distribution for each channel of each pixel.
    Noise,
}

impl RandomErasing {
    /// As torchvision does unless told otherwise: 2 % to 33 % of the area, height by width of 0.3 to 3.3, with the mean color.
    pub fn torchvision(probability: f64) -> Self {
        Self {
            probability,
            scale: [0.02, 0.33],
            ratio: [1.0 / 3.3, 1.0 / 0.3],
            filling: Filling::Mean,
        }
    }

    /// As timm does with `--remode pixel`: 2 % to a third of the area, a ratio of 0.3 to 1 / 0.3, with noise.
    pub fn timm_pixel(probability: f64) -> Self {
        Self {
            probability,
            scale: [0.02, 1.0 / 3.0],
            ratio: [0.3, 1.0 / 0.3],
            filling: Filling::Noise,
        }
    }

    /// Erases a part, or nothing, of an image of `size`, width and height, neither of which is 0: `values` are
    /// `[channels, height, width]`, and standardised.
    pub fn apply(&self, values: &mut [f32], size: [usize; 2], rng: &mut impl Rng) {
        if !rng.random_bool(self.probability) {
            return;
        }
        let Some(part) = self.draw(size, rng) else {
            return;
        };
        for channel in values.chunks_exact_mut(size[0] * size[1]) {
            let rows = channel.chunks_exact_mut(size[0]).skip(part.top);
            for row in rows.take(part.height) {
                self.filling
                    .fill(&mut row[part.left..part.left + part.width], rng);
            }
        }
    }

    fn draw(&self, size: [usize; 2], rng: &mut impl Rng) -> Option<Window> {
        let part = RandomWindow {
            scale: self.scale,
            ratio: self.ratio,
        };
        part.draw(size, size.map(|length| length - 1), rng)
    }
}

impl Filling {
    fn fill(self, values: &mut [f32], rng: &mut impl Rng) {
        match self {
            Self::Mean => values.fill(0.0),
            Self::Noise => values.fill_with(|| StandardNormal.sample(rng)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const SIZE: [usize; 2] = [40, 30];
    const PIXELS: usize = SIZE[0] * SIZE[1];
    const DRAWS: usize = 2000;

    /// No color is this number.
    const KEPT: f32 = 9.0;

    fn erased(erasing: &RandomErasing, rng: &mut StdRng) -> Vec<f32> {
        let mut values = vec![KEPT; 3 * PIXELS];
        erasing.apply(&mut values, SIZE, rng);
        values
    }

    /// The smallest window around the erased part of a channel, if there is one.
    fn window(channel: &[f32]) -> Option<Window> {
        let changed = |index: &usize| channel[*index] != KEPT;
        let places = || (0..PIXELS).filter(changed);
        let [columns, rows] = [
            places().map(|index| index % SIZE[0]).collect::<Vec<_>>(),
            places().map(|index| index / SIZE[0]).collect(),
        ];
        let (left, top) = (*columns.iter().min()?, *rows.iter().min()?);
        let window = Window {
            left,
            top,
            width: columns.iter().max()? + 1 - left,
            height: rows.iter().max()? + 1 - top,
        };
        assert_eq!(columns.len(), window.width * window.height, "it is full");
        Some(window)
    }

    /// Breaks when rows and columns are exchanged, when a channel is left out or erased elsewhere, when a part may be as wide or
    /// as high as the image, or when the share is that of the sides (its mean is 0.04 then).
    #[test]
    fn a_part_of_all_channels_is_erased() {
        // Five standard errors of a share whose deviation is 0.09, and 0.005 for the draws that do not fit, 3 % and large ones.
        const SHARE: f64 = 0.015;
        for erasing in [
            RandomErasing::torchvision(1.0),
            RandomErasing::timm_pixel(1.0),
        ] {
            let mut rng = StdRng::seed_from_u64(3);
            let mut sum = 0.0;
            for _ in 0..DRAWS {
                let values = erased(&erasing, &mut rng);
                let windows: Vec<_> = values.chunks(PIXELS).map(window).collect();
                let part = windows[0].expect("a part fits in one of ten draws");
                assert!(part.width < SIZE[0] && part.height < SIZE[1], "{part:?}");
                assert_eq!(windows, [Some(part); 3]);
                sum += part.share(SIZE);
            }
            let mean = sum / DRAWS as f64;
            let expected = (erasing.scale[0] + erasing.scale[1]) / 2.0;
            assert!((mean - expected).abs() < SHARE, "{mean}");
        }
    }

    #[test]
    fn as_many_images_are_changed_as_is_said() {
        let changed = |probability| {
            let mut rng = StdRng::seed_from_u64(8);
            let erasing = RandomErasing::torchvision(probability);
            let all = (0..DRAWS).map(|_| erased(&erasing, &mut rng));
            all.filter(|values| values.iter().any(|value| *value != KEPT))
                .count()
        };
        assert_eq!(changed(0.0), 0);
        // Four standard deviations of 2000 draws.
        assert!(changed(0.25).abs_diff(DRAWS / 4) < 78);
    }

    /// Breaks when the mean is not 0 or noise is one number for a channel, a pixel or the whole part.
    #[test]
    fn the_part_has_the_mean_color_or_noise() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut part = |erasing: RandomErasing| {
            let values: Vec<_> = (0..100).map(|_| erased(&erasing, &mut rng)).collect();
            let mut values = values.concat();
            values.retain(|value| *value != KEPT);
            values
        };
        let mean = part(RandomErasing::torchvision(1.0));
        assert!(mean.iter().all(|value| *value == 0.0));

        let mut noise = part(RandomErasing::timm_pixel(1.0));
        let moment = |power| {
            let powers = noise.iter().map(|value| f64::from(*value).powi(power));
            powers.sum::<f64>() / noise.len() as f64
        };
        // Five standard errors of 60000 numbers: 0.02 and 0.03.
        assert!(moment(1).abs() < 0.02, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.03, "{}", moment(2));
        // Of so many single-precision numbers few are the same.
        let numbers = noise.len();
        noise.sort_by(f32::total_cmp);
        noise.dedup();
        assert!(noise.len() > numbers * 9 / 10);
    }

    #[test]
    fn an_image_that_no_smaller_part_fits_into_is_left_as_it_is() {
        let whole = RandomErasing {
            scale: [1.0, 1.0],
            ratio: [1.0, 1.0],
            ..RandomErasing::torchvision(1.0)
        };
        for (erasing, side) in [(whole, 6), (RandomErasing::torchvision(1.0), 1)] {
            let mut values = vec![KEPT; 3 * side * side];
            erasing.apply(&mut values, [side; 2], &mut StdRng::seed_from_u64(1));
            assert!(values.iter().all(|value| *value == KEPT));
        }
    }
}
