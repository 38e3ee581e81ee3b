use image::{Rgb, Rgb32FImage, RgbImage, buffer::ConvertBuffer};
use imageproc::geometric_transformations::{self as geometry, Border, Projection};

use super::{Interpolation, Motion};

/// Moves what is in an image; the size of the image stays the same.
///
/// As `Image.transform` of PIL: a pixel whose middle comes from outside of the image has the color
/// [`fill`](Self::fill), and what is interpolated next to the border takes the border's pixels for those beyond it.
/// Unlike PIL, values are rounded to the nearest and not down, and the cubic kernel has the parameter −½ and not −1, so
/// it overshoots less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warp {
    /// Where everything moves to.
    pub motion: Motion,
    /// How values between pixels are found.
    pub interpolation: Interpolation,
    /// The color of what comes from outside.
    pub fill: Rgb<u8>,
}

impl Warp {
    /// The image after the motion.
    pub fn apply(&self, image: &RgbImage) -> RgbImage {
        let (width, height) = image.dimensions();
        // imageproc counts from the middle of the first pixel.
        let middle = Projection::translate(0.5, 0.5);
        let motion = middle.invert() * self.motion.projection([width, height]) * middle;
        // Between bytes, imageproc would round down after each of the two directions.
        let exact: Rgb32FImage = image.convert();
        let interpolation = match self.interpolation {
            Interpolation::Bilinear => geometry::Interpolation::Bilinear,
            Interpolation::Bicubic => geometry::Interpolation::Bicubic,
        };
        let moved = geometry::warp(&exact, motion, interpolation, Border::Replicate);
        self.filled(moved.convert(), motion.invert())
    }

    /// The image with a color where `origin`, from and to middles of pixels, leads outside.
    fn filled(&self, mut image: RgbImage, origin: Projection) -> RgbImage {
        let columns = -0.5..image.width() as f32 - 0.5;
        let rows = -0.5..image.height() as f32 - 0.5;
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            let (x, y) = origin * (x as f32, y as f32);
            if !columns.contains(&x) || !rows.contains(&y) {
                *pixel = self.fill;
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILL: Rgb<u8> = Rgb([124, 116, 104]);
    const BRIGHT: Rgb<u8> = Rgb([251, 200, 55]);

    /// 5 by 5 and black but for a bright pixel.
    fn image(x: u32, y: u32) -> RgbImage {
        let mut image = RgbImage::new(5, 5);
        image.put_pixel(x, y, BRIGHT);
        image
    }

    fn warped(motion: Motion, interpolation: Interpolation, image: &RgbImage) -> RgbImage {
        let warp = Warp {
            motion,
            interpolation,
            fill: FILL,
        };
        warp.apply(image)
    }

    /// The places that a pixel at (x, y) is seen at after a motion, and how many pixels are filled.
    fn places(motion: Motion, x: u32, y: u32) -> (Vec<(u32, u32)>, usize) {
        let out = warped(motion, Interpolation::Bilinear, &image(x, y));
        let bright = out.enumerate_pixels().filter(|pixel| *pixel.2 == BRIGHT);
        let bright = bright.map(|(x, y, _)| (x, y)).collect();
        (bright, out.pixels().filter(|pixel| **pixel == FILL).count())
    }

    /// Breaks when the motion is applied in the other direction, or what enters the image is not filled.
    #[test]
    fn whole_pixels_move_exactly() {
        assert_eq!(places(Motion::TranslateX(1.0), 2, 2), (vec![(3, 2)], 5));
        assert_eq!(places(Motion::TranslateX(-2.0), 2, 2), (vec![(0, 2)], 10));
        assert_eq!(places(Motion::TranslateY(1.0), 2, 2), (vec![(2, 3)], 5));
        assert_eq!(places(Motion::TranslateY(-2.0), 2, 2), (vec![(2, 0)], 10));
    }

    /// Breaks when places are counted from the middle of the first pixel: the middle of the image is missed then, and a
    /// shear of 2 does not move the middles of rows by whole pixels.
    #[test]
    fn pixels_are_turned_and_sheared_by_their_middles() {
        assert_eq!(places(Motion::Rotate(90.0), 3, 2), (vec![(2, 1)], 0));
        assert_eq!(places(Motion::Rotate(-90.0), 3, 2), (vec![(2, 3)], 0));
        // The middle of row 1 is 1.5 below the border, so it moves by 3: its last two pixels are left. Of the five
        // rows, which move by 1, 3, 5, 7 and 9, the first has four and the second two.
        assert_eq!(places(Motion::ShearX(2.0), 4, 1), (vec![(1, 1)], 19));
        assert_eq!(places(Motion::ShearX(-2.0), 1, 1), (vec![(4, 1)], 19));
        assert_eq!(places(Motion::ShearY(2.0), 1, 4), (vec![(1, 1)], 19));
        assert_eq!(places(Motion::ShearY(-2.0), 1, 1), (vec![(1, 4)], 19));
    }

    /// Breaks when values are rounded down (a quarter of 251 is 62 then), or when the fill is mixed into the
    /// border.
    #[test]
    fn a_part_of_a_pixel_is_interpolated_and_the_border_is_sharp() {
        let out = warped(
            Motion::TranslateX(0.25),
            Interpolation::Bilinear,
            &image(0, 0),
        );
        // The first pixel comes from a quarter to the left of its middle, still in the image.
        assert_eq!(out[(0, 0)], BRIGHT);
        assert_eq!(out[(1, 0)], Rgb([63, 50, 14]));
        assert_eq!(out[(2, 0)], Rgb([0; 3]));

        let out = warped(
            Motion::TranslateX(0.75),
            Interpolation::Bilinear,
            &image(0, 0),
        );
        assert_eq!(out[(0, 0)], FILL);
        assert_eq!(out[(1, 0)], Rgb([188, 150, 41]));
    }

    /// Breaks when the interpolation is not passed on: between two pixels, a cubic of −½ has 9/16 of each, less 1/16 of
    /// those next to them.
    #[test]
    fn cubic_interpolation_overshoots() {
        let step = RgbImage::from_fn(6, 1, |x, _| match x < 3 {
            true => Rgb([16; 3]),
            false => Rgb([176; 3]),
        });
        let row = |interpolation| {
            let out = warped(Motion::TranslateX(0.5), interpolation, &step);
            [2, 3, 4].map(|x| out[(x, 0)][0])
        };
        assert_eq!(row(Interpolation::Bilinear), [16, 96, 176]);
        assert_eq!(row(Interpolation::Bicubic), [6, 96, 186]);
    }

    /// Breaks when weights of single precision, which need not add up to 1, are rounded down: plain areas get darker
    /// then.
    #[test]
    fn a_plain_image_stays_plain_inside() {
        let plain = RgbImage::from_pixel(9, 7, BRIGHT);
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for motion in [Motion::Rotate(17.0), Motion::ShearX(0.3)] {
                let out = warped(motion, interpolation, &plain);
                assert_eq!(out.dimensions(), (9, 7));
                let right = |pixel: &Rgb<u8>| *pixel == BRIGHT || *pixel == FILL;
                assert!(out.pixels().all(right), "{motion:?} {interpolation:?}");
            }
        }
    }
}
