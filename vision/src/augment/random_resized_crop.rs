use image::RgbImage;
use rand::Rng;

use super::random_window::RandomWindow;
use super::{Interpolation, Window};

/// A part of an image of random area, aspect ratio and place, resized to a square.
///
/// Of C. Szegedy et al., [arXiv:1409.4842](https://arxiv.org/abs/1409.4842), and as in torchvision's
/// `RandomResizedCrop`: the area is uniform in [`scale`](Self::scale) times the image's, the logarithm of width by height
/// uniform in that of [`ratio`](Self::ratio). Ten draws that do not fit into the image are answered by the largest part
/// in the middle whose ratio is allowed.
#[derive(Clone, Debug)]
pub struct RandomResizedCrop {
    /// Height and width of what comes out.
    pub size: usize,
    /// The smallest and the largest share of the area, in (0, 1].
    pub scale: [f64; 2],
    /// The smallest and the largest width by height, above 0.
    pub ratio: [f64; 2],
    /// How the part is resized; with none, it is drawn for each image.
    pub interpolation: Option<Interpolation>,
}

impl RandomResizedCrop {
    /// A crop resized to `size × size`, of 8 % to all of the area and a ratio of 3/4 to 4/3, as for ImageNet, and bilinear.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Some(Interpolation::Bilinear),
        }
    }

    /// The part of an image, resized.
    pub fn apply(&self, image: &RgbImage, rng: &mut impl Rng) -> RgbImage {
        let size = [image.width() as usize, image.height() as usize];
        let part = self.draw(size, rng);
        let interpolation = self
            .interpolation
            .unwrap_or_else(|| Interpolation::draw(rng));
        part.resized(image, self.size, interpolation)
    }

    /// Draws a part of an image of this width and height, neither of which is 0.
    pub fn draw(&self, size: [usize; 2], rng: &mut impl Rng) -> Window {
        let part = RandomWindow {
            scale: self.scale,
            ratio: self.ratio,
        };
        let drawn = part.draw(size, size, rng);
        drawn.unwrap_or_else(|| self.fallback(size))
    }

    fn fallback(&self, [width, height]: [usize; 2]) -> Window {
        let ratio = width as f64 / height as f64;
        let allowed = ratio.clamp(self.ratio[0], self.ratio[1]);
        let part = if ratio > allowed {
            [(height as f64 * allowed).round() as usize, height]
        } else {
            [width, (width as f64 / allowed).round() as usize]
        };
        // Rounding of the division must not make it larger than the image, nor empty.
        let part = [part[0].clamp(1, width), part[1].clamp(1, height)];
        Window::center([width, height], part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn draws(size: [usize; 2], count: usize) -> Vec<Window> {
        let mut rng = StdRng::seed_from_u64(7);
        let crop = RandomResizedCrop::new(8);
        (0..count).map(|_| crop.draw(size, &mut rng)).collect()
    }

    #[test]
    fn every_part_is_inside_whatever_the_image_is_like() {
        for size in [[500, 375], [375, 500], [1, 1], [2, 90], [90, 2], [3, 3]] {
            for window in draws(size, 500) {
                assert!(window.width >= 1 && window.height >= 1, "{window:?}");
                assert!(window.left + window.width <= size[0], "{window:?}");
                assert!(window.top + window.height <= size[1], "{window:?}");
            }
        }
    }

    /// Breaks when the ratio is drawn uniformly and not its logarithm (whose mean is 0.027 then), when the share is that of the
    /// sides and not of the area (its mean is 0.18 then), or when a part is always at one end.
    #[test]
    fn area_ratio_and_place_have_their_distributions() {
        const DRAWS: usize = 20_000;
        // Less than a quarter of what these mistakes make, and five standard errors: those are 0.0012 for logarithms
        // (0.166/√20000), 0.0013 for shares and 0.002 for places.
        const LOG_RATIO: f64 = 0.006;
        const SHARE: f64 = 0.01;
        // Every part fits, so no draw is refused.
        let crop = RandomResizedCrop {
            scale: [0.08, 0.7],
            ..RandomResizedCrop::new(8)
        };
        let (size, mut rng) = ([4000, 4000], StdRng::seed_from_u64(3));
        let draws: Vec<Window> = (0..DRAWS).map(|_| crop.draw(size, &mut rng)).collect();
        let mean = |of: &dyn Fn(&Window) -> f64| draws.iter().map(of).sum::<f64>() / DRAWS as f64;

        let log_ratio = mean(&|window| (window.width as f64 / window.height as f64).ln());
        assert!(log_ratio.abs() < LOG_RATIO, "{log_ratio}");
        let share = mean(&|window| window.share(size));
        assert!((share - 0.39).abs() < SHARE, "{share}");
        let place = mean(&|window| window.left as f64 / (size[0] - window.width).max(1) as f64);
        assert!((place - 0.5).abs() < SHARE, "{place}");
    }

    #[test]
    fn an_image_that_no_part_fits_into_gives_its_middle() {
        // 90 by 2: of 14 to 180 pixels with a ratio of at most 4/3, the lowest is 3 high.
        assert_eq!(draws([90, 2], 1)[0], Window::center([90, 2], [3, 2]));
    }

    #[test]
    fn what_comes_out_is_a_square_of_the_size() {
        let image = RgbImage::new(37, 21);
        let out = RandomResizedCrop::new(16).apply(&image, &mut StdRng::seed_from_u64(0));
        assert_eq!(out.dimensions(), (16, 16));
    }

    /// Breaks when one is drawn for all images, or where one is given. Only a bicubic edge from 100 to 200 is anywhere above 200.
    #[test]
    fn the_interpolation_is_the_one_given_or_either_as_often() {
        let image = RgbImage::from_fn(8, 8, |x, _| Rgb([if x < 4 { 100 } else { 200 }; 3]));
        let sharpened = |interpolation| {
            let crop = RandomResizedCrop {
                size: 16,
                scale: [1.0, 1.0],
                ratio: [1.0, 1.0],
                interpolation,
            };
            let mut rng = StdRng::seed_from_u64(4);
            let all = (0..100).map(|_| crop.apply(&image, &mut rng));
            all.filter(|out| out.pixels().any(|pixel| pixel[0] > 200))
                .count()
        };
        assert_eq!(sharpened(Some(Interpolation::Bilinear)), 0);
        assert_eq!(sharpened(Some(Interpolation::Bicubic)), 100);
        // Of 100 fair draws, four standard deviations.
        assert!((30..=70).contains(&sharpened(None)));
    }
}
