use image::{RgbImage, SubImage, imageops};

use super::Interpolation;

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Columns to the left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Its columns.
    pub width: usize,
    /// Its rows.
    pub height: usize,
}

impl Window {
    /// The part of this width and height in the middle of an image of `size`, which is width and height too; an odd
    /// margin is larger on the right and at the bottom.
    pub fn center(size: [usize; 2], [width, height]: [usize; 2]) -> Self {
        Self {
            left: (size[0] - width) / 2,
            top: (size[1] - height) / 2,
            width,
            height,
        }
    }

    /// Whether it has no pixel.
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The share of an image of this width and height that it covers, in [0, 1].
    pub fn share(&self, [width, height]: [usize; 2]) -> f64 {
        (self.width * self.height) as f64 / (width * height) as f64
    }

    /// The part of an image, resized to `size × size`, without aliasing where it shrinks, as in PIL; nothing outside of the part
    /// is seen.
    pub fn resized(&self, image: &RgbImage, size: usize, interpolation: Interpolation) -> RgbImage {
        let part: SubImage<&RgbImage> = imageops::crop_imm(
            image,
            self.left as u32,
            self.top as u32,
            self.width as u32,
            self.height as u32,
        );
        imageops::resize(&*part, size as u32, size as u32, interpolation.filter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn the_middle_has_the_same_margin_on_both_sides() {
        let window = Window::center([11, 8], [4, 6]);
        assert_eq!((window.left, window.top), (3, 1));
        assert!((window.share([11, 8]) - 24.0 / 88.0).abs() < 1e-12);
    }

    /// Breaks when columns and rows are exchanged, or the part is not where the window is.
    #[test]
    fn what_is_resized_is_the_part_alone() {
        let mut image = RgbImage::from_pixel(10, 6, Rgb([0, 0, 0]));
        for (x, y) in [(7, 1), (8, 1), (7, 2), (8, 2)] {
            image.put_pixel(x, y, Rgb([250, 100, 50]));
        }
        let window = Window {
            left: 7,
            top: 1,
            width: 2,
            height: 2,
        };
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let part = window.resized(&image, 5, interpolation);
            assert_eq!(part.dimensions(), (5, 5));
            assert!(part.pixels().all(|pixel| *pixel == Rgb([250, 100, 50])));
        }
    }

    /// Breaks when both have one filter, or bicubic's is another cubic than PIL's, whose `a` is −1/2: enlarged twice, the pixels
    /// before an edge of 100 are 3/128 and 9/128 of it below its foot and then at 13/64 of it.
    #[test]
    fn an_edge_is_sharper_bicubic() {
        let image = RgbImage::from_fn(8, 8, |x, _| Rgb([if x < 4 { 100 } else { 200 }; 3]));
        let window = Window::center([8, 8], [8, 8]);
        let beside = |interpolation| {
            let out = window.resized(&image, 16, interpolation);
            [5, 6, 7, 8, 9, 10].map(|x| out[(x, 8)][0])
        };
        assert_eq!(
            beside(Interpolation::Bilinear),
            [100, 100, 125, 175, 200, 200]
        );
        assert_eq!(beside(Interpolation::Bicubic), [98, 93, 120, 180, 207, 202]);
    }
}
