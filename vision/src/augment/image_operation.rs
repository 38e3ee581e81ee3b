use image::RgbImage;

use super::{Enhancement, Tone, Warp};

/// One of the changes of an image that automatic augmentation draws from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ImageOperation {
    /// Nothing.
    Identity,
    /// A motion of what is in the image.
    Warp(Warp),
    /// Another value for each value.
    Tone(Tone),
    /// A blend with a poorer image.
    Enhancement(Enhancement),
}

impl ImageOperation {
    /// The changed image, of the same size.
    pub fn apply(self, image: RgbImage) -> RgbImage {
        match self {
            Self::Identity => image,
            Self::Warp(warp) => warp.apply(&image),
            Self::Tone(tone) => tone.apply(image),
            Self::Enhancement(enhancement) => enhancement.apply(&image),
        }
    }
}
