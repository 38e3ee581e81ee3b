//! Handwritten digits of 8×8 pixels, compiled in: a data set for examples and tests that need no download.
//!
//! The 1797 digits of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
//! Repository, 1998, CC BY 4.0.

use super::{Image, ImageShape, Images, Normalization};

/// Gray images of ten classes.
pub const SHAPE: ImageShape = ImageShape {
    size: 8,
    channels: 1,
    classes: 10,
};

/// Mean and standard deviation of the training pixels, which are 0 (paper) to 16 (ink).
const MEAN_AND_DEVIATION: [f32; 2] = [4.881_141_7, 6.018_802_5];

const CSV: &str = include_str!("../../data/digits.csv");

/// Of each class, one image in this many is for validation.
const VALIDATION_EVERY: usize = 6;

/// The digits. The split is fixed: of each of the ten classes, every sixth image in the order of the file is for validation.
/// That makes 1501 images to train on and 296 to validate on, and about as many of each class; writers appear on both sides.
pub fn load() -> Images {
    let mut seen = [0_usize; SHAPE.classes];
    let images = CSV.lines().map(|line| {
        parse(line).expect("the compiled-in file has 64 pixels and a class on each line")
    });
    let (valid, train) = images.partition(|image| {
        let seen = &mut seen[image.label];
        *seen += 1;
        seen.is_multiple_of(VALIDATION_EVERY)
    });
    let [mean, deviation] = MEAN_AND_DEVIATION;
    Images {
        train,
        valid,
        shape: SHAPE,
        normalization: Normalization::new(vec![mean], vec![deviation]),
    }
}

fn parse(line: &str) -> Option<Image> {
    let fields: Option<Vec<u8>> = line.split(',').map(|field| field.parse().ok()).collect();
    let (label, pixels) = fields.as_deref()?.split_last()?;
    (pixels.len() == SHAPE.size * SHAPE.size).then(|| Image {
        pixels: pixels.to_vec(),
        label: usize::from(*label),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;
    use crate::images::ImageBatch;

    #[test]
    fn the_split_keeps_every_item_and_the_balance_of_the_classes() {
        let Images { train, valid, .. } = load();
        let of_class = |images: &[Image], class| {
            let images = images.iter();
            images.filter(|image| image.label == class).count()
        };

        assert_eq!((train.len(), valid.len()), (1501, 296));
        for class in 0..10 {
            let (train, valid) = (of_class(&train, class), of_class(&valid, class));
            assert_eq!(valid, (train + valid) / VALIDATION_EVERY, "class {class}");
        }
        assert!(valid.iter().all(|image| !train.contains(image)));
    }

    #[test]
    fn images_are_the_lines_of_the_file() {
        let images = load();
        let first = &images.train[0];

        assert_eq!(first.label, 0);
        assert_eq!(first.pixels[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
        assert_eq!(first.pixels[56..], [0, 0, 6, 13, 10, 0, 0, 0]);
    }

    #[test]
    fn a_line_with_a_field_too_many_or_too_few_is_no_image() {
        let line = CSV.lines().next().expect("the file is not empty");

        assert!(parse(line).is_some());
        assert_eq!(parse(&format!("{line},1")), None);
        assert_eq!(parse(line.trim_end_matches(",0")), None);
    }

    #[test]
    fn a_batch_of_the_training_set_is_standardised() {
        // What is left is rounding: of the two constants to f32, and of 96064 pixels to f32.
        const ROUNDING: f64 = 1e-5;
        let images = load();
        let batch: ImageBatch<Selected> = images.batch(&images.train, &Default::default());

        assert_eq!(batch.images.dims(), [1501, 1, 8, 8]);
        let labels: Vec<i64> = batch.targets.into_data().iter().collect();
        let expected = images.train.iter().map(|image| image.label as i64);
        assert!(expected.eq(labels));
        let pixels: Vec<f64> = batch.images.into_data().iter::<f64>().collect();
        let mean = pixels.iter().sum::<f64>() / pixels.len() as f64;
        let squares = pixels.iter().map(|pixel| (pixel - mean).powi(2));
        let variance = squares.sum::<f64>() / pixels.len() as f64;
        assert!(mean.abs() < ROUNDING, "mean {mean}");
        assert!((variance - 1.0).abs() < ROUNDING, "variance {variance}");
    }
}
