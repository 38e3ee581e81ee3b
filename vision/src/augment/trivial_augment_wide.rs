use image::Rgb;
use rand::{Rng, RngExt};

use super::{Enhancement, ImageOperation, Interpolation, Motion, Tone, Warp};

/// The last of the magnitudes, which are numbered from 0.
const LAST_BIN: u32 = 30;

/// One operation of random strength, as in torchvision's `TrivialAugmentWide`.
///
/// Of S. Müller and F. Hutter, [arXiv:2103.10158](https://arxiv.org/abs/2103.10158): one of 14 operations and one of 31
/// magnitudes, each as likely as the others, and either sign where there is one. What enters an image is black, and
/// pixels are interpolated linearly, as in torchvision's recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrivialAugmentWide;

impl TrivialAugmentWide {
    /// Draws the operation of an image.
    pub fn draw(self, rng: &mut impl Rng) -> ImageOperation {
        let bin = rng.random_range(0..=LAST_BIN);
        let sign = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
        let operations = operations(bin, sign);
        operations[rng.random_range(0..operations.len())]
    }
}

fn operations(bin: u32, sign: f64) -> [ImageOperation; 14] {
    use ImageOperation as Operation;
    let share = f64::from(bin) / f64::from(LAST_BIN);
    let signed = sign * 0.99 * share;
    let pixels = sign * (32.0 * share).floor();
    let bits = 8 - (6.0 * share).round() as u32;
    // Exact, so that no value is on the wrong side of it.
    let threshold = 255.0 - 255.0 / f64::from(LAST_BIN) * f64::from(bin);
    [
        Operation::Identity,
        warp(Motion::ShearX(signed)),
        warp(Motion::ShearY(signed)),
        warp(Motion::TranslateX(pixels)),
        warp(Motion::TranslateY(pixels)),
        warp(Motion::Rotate(sign * 135.0 * share)),
        Operation::Enhancement(Enhancement::Brightness(1.0 + signed)),
        Operation::Enhancement(Enhancement::Color(1.0 + signed)),
        Operation::Enhancement(Enhancement::Contrast(1.0 + signed)),
        Operation::Enhancement(Enhancement::Sharpness(1.0 + signed)),
        Operation::Tone(Tone::Posterize(bits)),
        Operation::Tone(Tone::Solarize(threshold)),
        Operation::Tone(Tone::AutoContrast),
        Operation::Tone(Tone::Equalize),
    ]
}

fn warp(motion: Motion) -> ImageOperation {
    ImageOperation::Warp(Warp {
        motion,
        interpolation: Interpolation::Bilinear,
        fill: Rgb([0; 3]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const DRAWS: usize = 28_000;

    fn draws() -> Vec<ImageOperation> {
        let mut rng = StdRng::seed_from_u64(13);
        (0..DRAWS)
            .map(|_| TrivialAugmentWide.draw(&mut rng))
            .collect()
    }

    /// Where an operation is in the list of all.
    fn index(operation: &ImageOperation) -> usize {
        use ImageOperation as Operation;
        match operation {
            Operation::Identity => 0,
            Operation::Warp(warp) => match warp.motion {
                Motion::ShearX(_) => 1,
                Motion::ShearY(_) => 2,
                Motion::TranslateX(_) => 3,
                Motion::TranslateY(_) => 4,
                Motion::Rotate(_) => 5,
            },
            Operation::Enhancement(Enhancement::Brightness(_)) => 6,
            Operation::Enhancement(Enhancement::Color(_)) => 7,
            Operation::Enhancement(Enhancement::Contrast(_)) => 8,
            Operation::Enhancement(Enhancement::Sharpness(_)) => 9,
            Operation::Tone(Tone::Posterize(_)) => 10,
            Operation::Tone(Tone::Solarize(_)) => 11,
            Operation::Tone(Tone::AutoContrast) => 12,
            Operation::Tone(Tone::Equalize) => 13,
            Operation::Tone(Tone::Invert | Tone::SolarizeAdd(_)) => panic!("it is not of the 14"),
        }
    }

    /// Breaks when an operation is never drawn, or one more often than another.
    #[test]
    fn all_operations_are_as_likely() {
        // Five standard deviations of a binomial with p = 1/14: √(28000 · 1/14 · 13/14) = 43.
        const ERROR: usize = 216;
        let mut counts = [0_usize; 14];
        for operation in draws() {
            counts[index(&operation)] += 1;
        }
        for count in counts {
            assert!(count.abs_diff(DRAWS / 14) < ERROR, "{counts:?}");
        }
    }

    /// Breaks when a magnitude is left out or a sign is never drawn: 61 angles are, as 0 is one with either sign.
    #[test]
    fn all_magnitudes_are_drawn_with_both_signs() {
        let mut angles: Vec<i32> = draws()
            .iter()
            .filter_map(|operation| match operation {
                ImageOperation::Warp(Warp {
                    motion: Motion::Rotate(degrees),
                    ..
                }) => Some((degrees * 2.0).round() as i32),
                _ => None,
            })
            .collect();
        angles.sort_unstable();
        angles.dedup();
        // In steps of 4.5 degrees.
        let expected: Vec<i32> = (-30..=30).map(|bin| bin * 9).collect();
        assert_eq!(angles, expected);
    }

    /// Breaks when a range begins elsewhere than torchvision's, or a factor is not around 1.
    #[test]
    fn the_first_magnitude_is_the_weakest() {
        use Enhancement::{Brightness, Color, Contrast, Sharpness};
        use Motion::{Rotate, ShearX, ShearY, TranslateX, TranslateY};
        let expected = [
            ImageOperation::Identity,
            warp(ShearX(0.0)),
            warp(ShearY(0.0)),
            warp(TranslateX(0.0)),
            warp(TranslateY(0.0)),
            warp(Rotate(0.0)),
            ImageOperation::Enhancement(Brightness(1.0)),
            ImageOperation::Enhancement(Color(1.0)),
            ImageOperation::Enhancement(Contrast(1.0)),
            ImageOperation::Enhancement(Sharpness(1.0)),
            ImageOperation::Tone(Tone::Posterize(8)),
            ImageOperation::Tone(Tone::Solarize(255.0)),
            ImageOperation::Tone(Tone::AutoContrast),
            ImageOperation::Tone(Tone::Equalize),
        ];
        assert_eq!(operations(0, 1.0), expected);
        assert_eq!(operations(0, -1.0), expected);
    }

    /// Breaks when a range ends elsewhere than torchvision's, or something has a sign that must not.
    #[test]
    fn the_last_magnitude_is_the_strongest() {
        use Enhancement::{Brightness, Color, Contrast, Sharpness};
        use Motion::{Rotate, ShearX, ShearY, TranslateX, TranslateY};
        for sign in [1.0, -1.0] {
            let factor = 1.0 + sign * 0.99;
            let expected = [
                ImageOperation::Identity,
                warp(ShearX(sign * 0.99)),
                warp(ShearY(sign * 0.99)),
                warp(TranslateX(sign * 32.0)),
                warp(TranslateY(sign * 32.0)),
                warp(Rotate(sign * 135.0)),
                ImageOperation::Enhancement(Brightness(factor)),
                ImageOperation::Enhancement(Color(factor)),
                ImageOperation::Enhancement(Contrast(factor)),
                ImageOperation::Enhancement(Sharpness(factor)),
                ImageOperation::Tone(Tone::Posterize(2)),
                ImageOperation::Tone(Tone::Solarize(0.0)),
                ImageOperation::Tone(Tone::AutoContrast),
                ImageOperation::Tone(Tone::Equalize),
            ];
            assert_eq!(operations(LAST_BIN, sign), expected);
        }
    }

    /// Breaks when pixels are rounded to the nearest (29 · 32 / 30 is 30.93) or downwards, or bits are truncated: a
    /// fifth of a bit goes with each magnitude.
    #[test]
    fn pixels_are_truncated_and_bits_rounded() {
        let pixels = |bin, sign| operations(bin, sign)[3];
        assert_eq!(pixels(29, 1.0), warp(Motion::TranslateX(30.0)));
        assert_eq!(pixels(29, -1.0), warp(Motion::TranslateX(-30.0)));
        let bits = |bin| operations(bin, 1.0)[10];
        for (bin, kept) in [(2, 8), (3, 7), (7, 7), (8, 6), (27, 3), (28, 2)] {
            assert_eq!(bits(bin), ImageOperation::Tone(Tone::Posterize(kept)));
        }
    }

    /// Breaks when a threshold is a share of 255 that rounding takes off its place: 255 · (1 − 10 / 30) is more than
    /// 170.
    #[test]
    fn thresholds_are_exact() {
        for (bin, threshold) in [(1, 246.5), (10, 170.0), (20, 85.0), (29, 8.5)] {
            let solarize = ImageOperation::Tone(Tone::Solarize(threshold));
            assert_eq!(operations(bin, 1.0)[11], solarize);
        }
    }

    /// Breaks when what enters an image is not black, or pixels are not interpolated linearly.
    #[test]
    fn motions_are_as_in_the_recipes() {
        for operation in &operations(7, -1.0)[1..=5] {
            let ImageOperation::Warp(warp) = operation else {
                panic!("it is no motion: {operation:?}");
            };
            assert_eq!(warp.interpolation, Interpolation::Bilinear);
            assert_eq!(warp.fill, Rgb([0; 3]));
        }
    }
}
