use image::Rgb;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::{Enhancement, ImageOperation, Interpolation, Motion, Tone, Warp};

/// How many operations are drawn for an image.
const OPERATIONS: usize = 2;
/// The probability of applying one that is drawn.
const PROBABILITY: f64 = 0.5;
/// The mean of the magnitudes, `m9`.
const MAGNITUDE: f64 = 9.0;
/// Their standard deviation, `mstd0.5`.
const DEVIATION: f64 = 0.5;
/// The largest of them.
const MAX_MAGNITUDE: f64 = 10.0;
/// ImageNet's mean color.
const FILL: Rgb<u8> = Rgb([124, 116, 104]);

/// Up to two operations of about the same strength, as timm's `rand-m9-mstd0.5-inc1`, which DeiT and Swin are trained
/// with.
///
/// Of E. D. Cubuk et al., [arXiv:1909.13719](https://arxiv.org/abs/1909.13719), as changed in timm: two of 15
/// operations are drawn, maybe the same twice, and each is applied with a probability of 0.5. Magnitudes are normally
/// distributed with mean 9 and deviation 0.5, kept to [0, 10]; more changes an image more (`inc1`), and either sign is
/// as likely where there is one. What enters an image has ImageNet's mean color, and pixels are interpolated linearly
/// or cubically, either with the same probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandAugment;

impl RandAugment {
    /// Draws the operations of an image of this width and height, in their order.
    pub fn draw(self, size: [usize; 2], rng: &mut impl Rng) -> Vec<ImageOperation> {
        let mut drawn = Vec::with_capacity(OPERATIONS);
        for _ in 0..OPERATIONS {
            if rng.random_bool(PROBABILITY) {
                drawn.push(operation(size, rng));
            }
        }
        drawn
    }
}

fn operation(size: [usize; 2], rng: &mut impl Rng) -> ImageOperation {
    let magnitude = magnitude(rng);
    let sign = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    let operations = operations(magnitude, sign, size, Interpolation::draw(rng));
    operations[rng.random_range(0..operations.len())]
}

fn magnitude(rng: &mut impl Rng) -> f64 {
    let deviations: f64 = StandardNormal.sample(rng);
    (MAGNITUDE + DEVIATION * deviations).clamp(0.0, MAX_MAGNITUDE)
}

fn operations(
    magnitude: f64,
    sign: f64,
    size: [usize; 2],
    interpolation: Interpolation,
) -> [ImageOperation; 15] {
    use ImageOperation as Operation;
    let share = magnitude / MAX_MAGNITUDE;
    let factor = (1.0 + sign * 0.9 * share).max(0.1);
    let [right, down] = size.map(|length| sign * 0.45 * share * length as f64);
    let warp = |motion| {
        Operation::Warp(Warp {
            motion,
            interpolation,
            fill: FILL,
        })
    };
    [
        Operation::Tone(Tone::AutoContrast),
        Operation::Tone(Tone::Equalize),
        Operation::Tone(Tone::Invert),
        warp(Motion::Rotate(sign * 30.0 * share)),
        Operation::Tone(Tone::Posterize(4 - (4.0 * share) as u32)),
        Operation::Tone(Tone::Solarize(256.0 - (256.0 * share).floor())),
        Operation::Tone(Tone::SolarizeAdd((110.0 * share) as u8)),
        Operation::Enhancement(Enhancement::Color(factor)),
        Operation::Enhancement(Enhancement::Contrast(factor)),
        Operation::Enhancement(Enhancement::Brightness(factor)),
        Operation::Enhancement(Enhancement::Sharpness(factor)),
        warp(Motion::ShearX(sign * 0.3 * share)),
        warp(Motion::ShearY(sign * 0.3 * share)),
        warp(Motion::TranslateX(right)),
        warp(Motion::TranslateY(down)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const SIZE: [usize; 2] = [40, 20];
    const DRAWS: usize = 20_000;

    fn draws() -> Vec<Vec<ImageOperation>> {
        let mut rng = StdRng::seed_from_u64(17);
        (0..DRAWS)
            .map(|_| RandAugment.draw(SIZE, &mut rng))
            .collect()
    }

    /// Breaks when both operations are applied or left out together, or always.
    #[test]
    fn each_of_two_operations_is_applied_half_the_time() {
        // Five standard deviations of a half of the draws.
        const ERROR: usize = 354;
        let mut counts = [0_usize; 3];
        for operations in draws() {
            counts[operations.len()] += 1;
        }
        for (count, quarters) in counts.iter().zip([1, 2, 1]) {
            let expected = quarters * DRAWS / 4;
            assert!(count.abs_diff(expected) < ERROR, "{counts:?}");
        }
    }

    /// Breaks when an operation is never drawn, one more often than another, or the same one never twice: one of 15
    /// pairs is of the same.
    #[test]
    fn all_operations_are_as_likely_and_drawn_independently() {
        // Five standard deviations of binomials: √(20000 · 1/15 · 14/15) = 35.3 and √(5000 · 1/15 · 14/15) = 17.6.
        const ERRORS: [usize; 2] = [177, 88];
        let (mut counts, mut same) = ([0_usize; 15], 0_usize);
        for operations in draws() {
            let drawn: Vec<usize> = operations.iter().map(index).collect();
            drawn.iter().for_each(|index| counts[*index] += 1);
            same += usize::from(drawn.len() == 2 && drawn[0] == drawn[1]);
        }
        for count in counts {
            assert!(count.abs_diff(DRAWS / 15) < ERRORS[0], "{counts:?}");
        }
        assert!(same.abs_diff(DRAWS / 4 / 15) < ERRORS[1], "{same}");
    }

    /// Where an operation is in the list of all.
    fn index(operation: &ImageOperation) -> usize {
        use ImageOperation as Operation;
        match operation {
            Operation::Tone(Tone::AutoContrast) => 0,
            Operation::Tone(Tone::Equalize) => 1,
            Operation::Tone(Tone::Invert) => 2,
            Operation::Tone(Tone::Posterize(_)) => 4,
            Operation::Tone(Tone::Solarize(_)) => 5,
            Operation::Tone(Tone::SolarizeAdd(_)) => 6,
            Operation::Enhancement(Enhancement::Color(_)) => 7,
            Operation::Enhancement(Enhancement::Contrast(_)) => 8,
            Operation::Enhancement(Enhancement::Brightness(_)) => 9,
            Operation::Enhancement(Enhancement::Sharpness(_)) => 10,
            Operation::Warp(warp) => match warp.motion {
                Motion::Rotate(_) => 3,
                Motion::ShearX(_) => 11,
                Motion::ShearY(_) => 12,
                Motion::TranslateX(_) => 13,
                Motion::TranslateY(_) => 14,
            },
            Operation::Identity => panic!("it is not one of the 15"),
        }
    }

    /// Breaks when the deviation is another, or is the variance (0.71 then), or magnitudes are not kept to 10.
    #[test]
    fn magnitudes_are_about_nine() {
        // Five standard errors of 0.5 / √20000; keeping to 10 takes 0.004 from the mean and 0.01 from the deviation.
        const ERROR: f64 = 0.02;
        let mut rng = StdRng::seed_from_u64(19);
        let drawn: Vec<f64> = (0..DRAWS).map(|_| magnitude(&mut rng)).collect();
        assert!(drawn.iter().all(|drawn| (0.0..=10.0).contains(drawn)));
        assert!(drawn.contains(&10.0));
        let mean = drawn.iter().sum::<f64>() / DRAWS as f64;
        assert!((mean - 9.0).abs() < ERROR, "{mean}");
        let squares = drawn.iter().map(|drawn| (drawn - mean).powi(2));
        let deviation = (squares.sum::<f64>() / DRAWS as f64).sqrt();
        assert!((deviation - 0.49).abs() < ERROR, "{deviation}");
    }

    /// Breaks when a sign or an interpolation is never drawn, or one is drawn with the other.
    #[test]
    fn signs_and_interpolations_are_drawn_independently() {
        // Of 20000 draws of one of 5 motions of 15, a quarter: 1667, ± five standard deviations of 39.
        const EXPECTED: std::ops::Range<usize> = 1472..1862;
        let mut counts = [[0_usize; 2]; 2];
        for operation in draws().into_iter().flatten() {
            if let ImageOperation::Warp(warp) = operation {
                let (Motion::ShearX(sign)
                | Motion::ShearY(sign)
                | Motion::TranslateX(sign)
                | Motion::TranslateY(sign)
                | Motion::Rotate(sign)) = warp.motion;
                let cubic = warp.interpolation == Interpolation::Bicubic;
                counts[usize::from(sign < 0.0)][usize::from(cubic)] += 1;
                assert_eq!(warp.fill, Rgb([124, 116, 104]));
            }
        }
        let right = |count| EXPECTED.contains(count);
        assert!(counts.iter().flatten().all(right), "{counts:?}");
    }

    fn at(magnitude: f64, sign: f64) -> [ImageOperation; 15] {
        operations(magnitude, sign, SIZE, Interpolation::Bilinear)
    }

    fn warp(motion: Motion) -> ImageOperation {
        ImageOperation::Warp(Warp {
            motion,
            interpolation: Interpolation::Bilinear,
            fill: FILL,
        })
    }

    /// Breaks when a range is another than timm's, when pixels are not shares of width and height, or when something
    /// has a sign that must not.
    #[test]
    fn the_largest_magnitude_is_the_end_of_each_range() {
        use Enhancement::{Brightness, Color, Contrast, Sharpness};
        for (sign, factor) in [(1.0, 1.9), (-1.0, 0.1)] {
            let expected = [
                ImageOperation::Tone(Tone::AutoContrast),
                ImageOperation::Tone(Tone::Equalize),
                ImageOperation::Tone(Tone::Invert),
                warp(Motion::Rotate(sign * 30.0)),
                ImageOperation::Tone(Tone::Posterize(0)),
                ImageOperation::Tone(Tone::Solarize(0.0)),
                ImageOperation::Tone(Tone::SolarizeAdd(110)),
                ImageOperation::Enhancement(Color(factor)),
                ImageOperation::Enhancement(Contrast(factor)),
                ImageOperation::Enhancement(Brightness(factor)),
                ImageOperation::Enhancement(Sharpness(factor)),
                warp(Motion::ShearX(sign * 0.3)),
                warp(Motion::ShearY(sign * 0.3)),
                warp(Motion::TranslateX(sign * 18.0)),
                warp(Motion::TranslateY(sign * 9.0)),
            ];
            assert_eq!(at(10.0, sign), expected);
        }
    }

    /// Breaks when a whole number is rounded to the nearest (0, 26 and 99 then), or grows where it must shrink.
    #[test]
    fn whole_numbers_are_truncated() {
        let numbers = [4, 5, 6].map(|index| at(8.97, 1.0)[index]);
        // 4 − 3.59, 256 − 229.63 and 98.67.
        let expected = [
            Tone::Posterize(1),
            Tone::Solarize(27.0),
            Tone::SolarizeAdd(98),
        ];
        assert_eq!(numbers, expected.map(ImageOperation::Tone));
    }
}
