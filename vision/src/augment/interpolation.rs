use image::imageops::FilterType;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// The pixels that a pixel of a resized image is a weighted sum of: those around it, as far as the image shrinks.
///
/// The weights are those of PIL, which rounds to whole numbers after each direction, and here only the result is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interpolation {
    /// Weights that fall linearly.
    Bilinear,
    /// Weights of a cubic of 4 × 4 pixels with `a = −1/2`, of which some are negative, so that edges become sharper.
    Bicubic,
}

impl Interpolation {
    /// Either, each with a probability of 0.5: what timm trains with unless told otherwise.
    pub fn draw(rng: &mut impl Rng) -> Self {
        match rng.random_bool(0.5) {
            true => Self::Bicubic,
            false => Self::Bilinear,
        }
    }

    /// Its counterpart in the crate `image`.
    pub(super) fn filter(self) -> FilterType {
        match self {
            Self::Bilinear => FilterType::Triangle,
            Self::Bicubic => FilterType::CatmullRom,
        }
    }
}
