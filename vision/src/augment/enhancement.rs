use image::{Pixel, Rgb, RgbImage};

/// Blends an image with a poorer one of its own, as PIL's `ImageEnhance` does: `poorer + factor (image − poorer)`,
/// rounded down and kept to [0, 255].
///
/// A factor of 0 gives the poorer image, 1 the image itself, and more exaggerates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Enhancement {
    /// The poorer image is black.
    Brightness(f64),
    /// The poorer image is gray.
    Color(f64),
    /// The poorer image is plain, of the mean gray.
    Contrast(f64),
    /// The poorer image is blurred: `[1 1 1; 1 5 1; 1 1 1] / 13`, but for the outermost pixels.
    Sharpness(f64),
}

impl Enhancement {
    /// The image after the blend.
    pub fn apply(self, image: &RgbImage) -> RgbImage {
        match self {
            Self::Brightness(factor) => blended(image, factor, |_, _| Rgb([0; 3])),
            Self::Color(factor) => blended(image, factor, |x, y| gray(luma(&image[(x, y)]))),
            Self::Contrast(factor) => {
                let mean = gray(mean_luma(image));
                blended(image, factor, |_, _| mean)
            }
            Self::Sharpness(factor) => blended(image, factor, |x, y| smooth(image, x, y)),
        }
    }
}

fn blended(image: &RgbImage, factor: f64, poorer: impl Fn(u32, u32) -> Rgb<u8>) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        poorer(x, y).map2(&image[(x, y)], |from, to| blend(from, to, factor as f32))
    })
}

/// In single precision, as PIL.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let [from, to] = [from, to].map(f32::from);
    // The conversion rounds down and keeps to [0, 255].
    (from + factor * (to - from)) as u8
}

fn gray(luma: u8) -> Rgb<u8> {
    Rgb([luma; 3])
}

/// Of ITU-R 601-2 in fixed point, as PIL.
fn luma(pixel: &Rgb<u8>) -> u8 {
    let [red, green, blue] = pixel.0.map(u32::from);
    ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16) as u8
}

fn mean_luma(image: &RgbImage) -> u8 {
    let sum: u64 = image.pixels().map(|pixel| u64::from(luma(pixel))).sum();
    let pixels = f64::from(image.width()) * f64::from(image.height());
    (sum as f64 / pixels + 0.5) as u8
}

fn smooth(image: &RgbImage, x: u32, y: u32) -> Rgb<u8> {
    let pixel = image[(x, y)];
    if x == 0 || y == 0 || x + 1 == image.width() || y + 1 == image.height() {
        return pixel;
    }
    let mut sums = pixel.0.map(|value| 4 * u32::from(value));
    for row in y - 1..=y + 1 {
        for column in x - 1..=x + 1 {
            for (sum, value) in sums.iter_mut().zip(image[(column, row)].0) {
                *sum += u32::from(value);
            }
        }
    }
    // To the nearest: half of 13, rounded down.
    Rgb(sums.map(|sum| ((sum + 6) / 13) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of luma (19595 · 200 + 38470 · 101 + 7471 · 50) / 65536 = 124.79 and, twice, 10.
    fn image() -> RgbImage {
        let mut image = RgbImage::from_pixel(3, 1, Rgb([10; 3]));
        image.put_pixel(1, 0, Rgb([200, 101, 50]));
        image
    }

    fn pixels(enhancement: Enhancement) -> [[u8; 3]; 2] {
        let out = enhancement.apply(&image());
        assert_eq!(out.dimensions(), (3, 1));
        [0, 1].map(|x| out[(x, 0)].0)
    }

    /// Breaks when values above 255 wrap around, or are rounded to the nearest: 10 · 0.75 is 7.5, and 101 · 0.75 is 75.75.
    #[test]
    fn brightness_scales_values() {
        assert_eq!(
            pixels(Enhancement::Brightness(1.5)),
            [[15; 3], [255, 151, 75]]
        );
        assert_eq!(
            pixels(Enhancement::Brightness(0.75)),
            [[7; 3], [150, 75, 37]]
        );
    }

    /// Breaks when the gray is the plain mean of the channels (117 and not 125) or rounded down (124), or a gray pixel
    /// changes.
    #[test]
    fn color_moves_away_from_the_luma() {
        assert_eq!(pixels(Enhancement::Color(0.0)), [[10; 3], [125; 3]]);
        // 125 + 1.5 · (75, −24, −75).
        assert_eq!(pixels(Enhancement::Color(1.5)), [[10; 3], [237, 89, 12]]);
        // 125 + 2 · (75, −24, −75), kept to [0, 255].
        assert_eq!(pixels(Enhancement::Color(2.0)), [[10; 3], [255, 77, 0]]);
    }

    /// Breaks when the mean is of each channel, or is rounded down: (10 + 125 + 10) / 3 is 48.3, and with 11 for a
    /// 10 it is 48.7.
    #[test]
    fn contrast_moves_away_from_the_mean_luma() {
        assert_eq!(pixels(Enhancement::Contrast(0.0)), [[48; 3]; 2]);
        // 48 + 1.5 · (−38, 152, 53, 2).
        assert_eq!(pixels(Enhancement::Contrast(1.5)), [[0; 3], [255, 127, 51]]);
        let mut image = image();
        image.put_pixel(2, 0, Rgb([11; 3]));
        let plain = Enhancement::Contrast(0.0).apply(&image);
        assert!(plain.pixels().all(|pixel| *pixel == Rgb([49; 3])));
    }

    /// Breaks when the weight of the middle is not 5 of 13, when the blur is rounded down (100 · 5 / 13 is 38.46 and
    /// 200 · 5 / 13 is 76.92), or when the border is blurred.
    #[test]
    fn sharpness_moves_away_from_the_neighbours() {
        let mut image = RgbImage::new(4, 3);
        image.put_pixel(1, 1, Rgb([100, 200, 0]));
        let blurred = Enhancement::Sharpness(0.0).apply(&image);
        assert_eq!(blurred[(1, 1)], Rgb([38, 77, 0]));
        // 100 / 13 is 7.69 and 200 / 13 is 15.38.
        assert_eq!(blurred[(2, 1)], Rgb([8, 15, 0]));
        assert_eq!(
            blurred
                .pixels()
                .filter(|pixel| **pixel != Rgb([0; 3]))
                .count(),
            2
        );
        // 38 + 1.5 · 62 and 77 + 1.5 · 123, which is 261.5; 8 − 1.5 · 8 is below 0.
        let sharp = Enhancement::Sharpness(1.5).apply(&image);
        assert_eq!(sharp[(1, 1)], Rgb([131, 255, 0]));
        assert_eq!(sharp[(2, 1)], Rgb([0; 3]));
    }

    #[test]
    fn a_factor_of_one_changes_nothing() {
        for enhancement in [
            Enhancement::Brightness(1.0),
            Enhancement::Color(1.0),
            Enhancement::Contrast(1.0),
            Enhancement::Sharpness(1.0),
        ] {
            assert_eq!(enhancement.apply(&image()), image(), "{enhancement:?}");
        }
    }
}
