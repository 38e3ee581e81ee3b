use rand::{Rng, RngExt};

use super::Window;

/// How often a window is drawn until one fits, as in torchvision and timm.
const TRIES: usize = 10;

/// The distribution of a part of an image: its area is uniform in [`scale`](Self::scale) times the image's, the logarithm of
/// width by height uniform in that of [`ratio`](Self::ratio), and so is the place among those inside of the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct RandomWindow {
    /// The smallest and the largest share of the area, in (0, 1].
    pub(super) scale: [f64; 2],
    /// The smallest and the largest width by height, above 0.
    pub(super) ratio: [f64; 2],
}

impl RandomWindow {
    /// Draws a part of an image of `size`, width and height, that is at most as wide and as high as `largest`; none if ten draws
    /// are larger, or have no pixel.
    pub(super) fn draw(
        self,
        size: [usize; 2],
        largest: [usize; 2],
        rng: &mut impl Rng,
    ) -> Option<Window> {
        (0..TRIES).find_map(|_| self.attempt(size, largest, rng))
    }

    fn attempt(self, size: [usize; 2], largest: [usize; 2], rng: &mut impl Rng) -> Option<Window> {
        let area = rng.random_range(self.scale[0]..=self.scale[1]);
        let log_ratio = rng.random_range(self.ratio[0].ln()..=self.ratio[1].ln());
        let area = area * (size[0] * size[1]) as f64;
        let [width, height] =
            [log_ratio, -log_ratio].map(|log| (area * log.exp()).sqrt().round() as usize);
        let fits = (1..=largest[0]).contains(&width) && (1..=largest[1]).contains(&height);
        fits.then(|| Window {
            left: rng.random_range(0..=size[0] - width),
            top: rng.random_range(0..=size[1] - height),
            width,
            height,
        })
    }
}
