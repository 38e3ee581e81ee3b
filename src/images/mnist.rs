//! MNIST, from burn-dataset.

use burn::data::dataset::Dataset;
use burn_dataset::vision::{MnistDataset, MnistItem};

use super::{Image, ImageShape, Images, Normalization};
use crate::caught::caught;

/// Gray images of ten classes.
pub const SHAPE: ImageShape = ImageShape {
    size: 28,
    channels: 1,
    classes: 10,
};

/// Mean and standard deviation of the training pixels, which are 0 to 255.
const MEAN_AND_DEVIATION: [f32; 2] = [33.318_42, 78.567_49];

/// Loads MNIST, after a download if it has not been used before.
///
/// # Errors
/// If that fails, as without a network.
pub fn load() -> Result<Images, String> {
    let side = |side: MnistDataset| side.iter().map(image).collect();
    let [mean, deviation] = MEAN_AND_DEVIATION;
    caught(|| Images {
        train: side(MnistDataset::train()),
        valid: side(MnistDataset::test()),
        shape: SHAPE,
        normalization: Normalization::new(vec![mean], vec![deviation]),
    })
    .map_err(|panicked| {
        format!(
            "MNIST could not be loaded; it is downloaded when it is first used, and the digits need no download\n  \
             burn-dataset: {}",
            panicked.message
        )
    })
}

/// Burn has the values, which are whole numbers, as `f32`.
fn image(item: MnistItem) -> Image {
    let values = item.image.as_flattened();
    Image {
        pixels: values.iter().map(|value| *value as u8).collect(),
        label: item.label.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when pixels come column by column.
    #[test]
    fn an_image_has_its_values_row_by_row() {
        let mut item = MnistItem {
            image: [[0.0; SHAPE.size]; SHAPE.size],
            label: 7,
        };
        item.image[2][5] = 255.0;

        let image = image(item);

        assert_eq!(image.pixels[2 * SHAPE.size + 5], 255);
        assert_eq!(image.pixels.iter().filter(|value| **value > 0).count(), 1);
        assert_eq!(image.label, 7);
    }
}
