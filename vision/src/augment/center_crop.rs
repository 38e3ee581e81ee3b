use image::RgbImage;

use super::{Interpolation, Window};

/// The middle of an image, as networks are validated on: a square of [`share`](Self::share) of the shorter side, resized.
///
/// The same as to resize the shorter side to `size / share` first and to crop `size × size` then, but for the rounding of
/// the side and for the pixels around the square, which are not seen here, and with less to compute.
#[derive(Clone, Debug)]
pub struct CenterCrop {
    /// Height and width of what comes out.
    pub size: usize,
    /// The share of the shorter side that is seen, in (0, 1].
    pub share: f64,
    /// How the square is resized.
    pub interpolation: Interpolation,
}

impl CenterCrop {
    /// The middle of an image.
    pub fn apply(&self, image: &RgbImage) -> RgbImage {
        let size = [image.width() as usize, image.height() as usize];
        let side = (size[0].min(size[1]) as f64 * self.share).round().max(1.0) as usize;
        Window::center(size, [side, side]).resized(image, self.size, self.interpolation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Breaks when the side is a share of the longer side or the middle is missed: the border is seen then.
    #[test]
    fn the_border_of_the_longer_side_and_of_both_is_left_out() {
        let mut image = RgbImage::from_pixel(24, 16, Rgb([255, 0, 0]));
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            if (5..19).contains(&x) && (1..15).contains(&y) {
                *pixel = Rgb([0, 0, 255]);
            }
        }
        let crop = CenterCrop {
            size: 7,
            share: 0.875,
            interpolation: Interpolation::Bilinear,
        };
        let out = crop.apply(&image);
        assert_eq!(out.dimensions(), (7, 7));
        assert!(out.pixels().all(|pixel| *pixel == Rgb([0, 0, 255])));
    }

    /// Breaks when the interpolation is another than the field's.
    #[test]
    fn the_square_is_resized_as_is_said() {
        let image = RgbImage::from_fn(8, 8, |x, _| Rgb([if x < 4 { 100 } else { 200 }; 3]));
        let largest = |interpolation| {
            let crop = CenterCrop {
                size: 16,
                share: 1.0,
                interpolation,
            };
            crop.apply(&image).pixels().map(|pixel| pixel[0]).max()
        };
        assert_eq!(largest(Interpolation::Bilinear), Some(200));
        assert!(largest(Interpolation::Bicubic) > Some(200));
    }
}
