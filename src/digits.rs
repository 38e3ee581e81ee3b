//! Handwritten digits of 8×8 pixels, compiled in: a data set for examples and tests that need no download.
//!
//! The 1797 digits of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
//! Repository, 1998, CC BY 4.0.
//!
//! The split is fixed: of each of the ten classes, every sixth item in the order of the file is a test item. That makes
//! 1501 training and 296 test items, and about as many of each class; writers appear on both sides.

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::image_data::ImageBatch;

/// Height and width of an image.
pub const SIZE: usize = 8;

/// The number of classes.
pub const CLASSES: usize = 10;

/// Mean of the training pixels, which are 0 to 16.
pub const MEAN: f32 = 4.881_141_7;

/// Standard deviation of the training pixels.
pub const STD: f32 = 6.018_802_5;

const CSV: &str = include_str!("../data/digits.csv");

/// Of each class, one item in this many is a test item.
const TEST_EVERY: usize = 6;

/// A digit.
#[derive(Clone, Debug, PartialEq)]
pub struct DigitItem {
    /// The pixels row by row, from 0 (paper) to 16 (ink).
    pub image: [f32; SIZE * SIZE],
    /// The digit.
    pub label: u8,
}

impl DigitItem {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(',');
        let mut image = [0.0; SIZE * SIZE];
        for pixel in &mut image {
            *pixel = fields.next()?.parse().ok()?;
        }
        let label = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(Self { image, label })
    }
}

/// One side of the split.
#[derive(Clone, Debug)]
pub struct DigitsDataset {
    items: Vec<DigitItem>,
}

impl DigitsDataset {
    /// The 1501 training items.
    pub fn train() -> Self {
        Self::side(false)
    }

    /// The 296 test items.
    pub fn test() -> Self {
        Self::side(true)
    }

    fn side(test: bool) -> Self {
        let mut seen = [0_usize; CLASSES];
        let items = CSV
            .lines()
            .map(|line| {
                DigitItem::parse(line)
                    .expect("the compiled-in file has 64 pixels and a label on each line")
            })
            .filter(|item| {
                let seen = &mut seen[usize::from(item.label)];
                *seen += 1;
                seen.is_multiple_of(TEST_EVERY) == test
            })
            .collect();
        Self { items }
    }
}

impl Dataset<DigitItem> for DigitsDataset {
    fn get(&self, index: usize) -> Option<DigitItem> {
        self.items.get(index).cloned()
    }

    fn len(&self) -> usize {
        self.items.len()
    }
}

/// Makes an [`ImageBatch`] of items: standardises the pixels with the mean and standard deviation of the training set.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigitsBatcher;

impl<B: Backend> Batcher<B, DigitItem, ImageBatch<B>> for DigitsBatcher {
    fn batch(&self, items: Vec<DigitItem>, device: &B::Device) -> ImageBatch<B> {
        let pixels: Vec<f32> = items
            .iter()
            .flat_map(|item| item.image)
            .map(|pixel| (pixel - MEAN) / STD)
            .collect();
        let labels: Vec<i64> = items.iter().map(|item| item.label.into()).collect();

        ImageBatch {
            images: Tensor::from_data(
                TensorData::new(pixels, [items.len(), 1, SIZE, SIZE]),
                device,
            ),
            targets: Tensor::from_data(TensorData::new(labels, [items.len()]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;

    #[test]
    fn the_split_keeps_every_item_and_the_balance_of_the_classes() {
        let (train, test) = (DigitsDataset::train(), DigitsDataset::test());
        let of_class = |dataset: &DigitsDataset, class| {
            dataset.iter().filter(|item| item.label == class).count()
        };

        assert_eq!((train.len(), test.len()), (1501, 296));
        for class in 0..10 {
            let (train, test) = (of_class(&train, class), of_class(&test, class));
            assert_eq!(test, (train + test) / TEST_EVERY, "class {class}");
        }
        assert!(test.iter().all(|item| !train.items.contains(&item)));
    }

    #[test]
    fn items_are_the_lines_of_the_file() {
        let first = DigitsDataset::train().get(0).expect("the set is not empty");

        assert_eq!(first.label, 0);
        assert_eq!(first.image[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]);
        assert_eq!(
            first.image[56..],
            [0.0, 0.0, 6.0, 13.0, 10.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn a_line_with_a_field_too_many_or_too_few_is_no_item() {
        let line = CSV.lines().next().expect("the file is not empty");

        assert!(DigitItem::parse(line).is_some());
        assert_eq!(DigitItem::parse(&format!("{line},1")), None);
        assert_eq!(DigitItem::parse(line.trim_end_matches(",0")), None);
    }

    #[test]
    fn a_batch_of_the_training_set_is_standardised() {
        // What is left is rounding: of the two constants to f32, and of 96064 pixels to f32.
        const ROUNDING: f64 = 1e-5;
        let items = DigitsDataset::train().items;
        let labels: Vec<i64> = items.iter().map(|item| item.label.into()).collect();

        let batch: ImageBatch<Selected> = DigitsBatcher.batch(items, &Default::default());

        assert_eq!(batch.images.dims(), [1501, 1, 8, 8]);
        assert_eq!(
            batch.targets.into_data().iter::<i64>().collect::<Vec<_>>(),
            labels
        );
        let pixels: Vec<f64> = batch.images.into_data().iter::<f64>().collect();
        let mean = pixels.iter().sum::<f64>() / pixels.len() as f64;
        let variance = pixels
            .iter()
            .map(|pixel| (pixel - mean).powi(2))
            .sum::<f64>()
            / pixels.len() as f64;
        assert!(mean.abs() < ROUNDING, "mean {mean}");
        assert!((variance - 1.0).abs() < ROUNDING, "variance {variance}");
    }
}
