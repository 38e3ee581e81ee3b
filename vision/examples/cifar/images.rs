//! All images of a run.

use std::error::Error;
use std::path::Path;

use burn::data::dataset::{Dataset, InMemDataset};
use burn_dataset::vision::MnistItem;
use mac_burn_examples::digits::{DigitItem, DigitsDataset};
use mac_burn_examples::image_data::ImageData;
use mac_burn_examples::{digits, mnist};
use mac_burn_vision::cifar;
use mac_burn_vision::small_images::{Normalization, SmallImage, SmallImagesBatcher};

use crate::dataset_choice::DatasetChoice;

/// Images in memory, and what makes batches of them.
pub(crate) type Images = ImageData<InMemDataset<SmallImage>, SmallImagesBatcher>;

/// Loads a data set, CIFAR from a folder if one is given.
///
/// # Errors
/// If it cannot be downloaded or read.
pub(crate) fn load(
    dataset: DatasetChoice,
    folder: Option<&Path>,
) -> Result<Images, Box<dyn Error>> {
    let (sides, normalization) = match dataset {
        DatasetChoice::Digits => digits(),
        DatasetChoice::Mnist => mnist()?,
        DatasetChoice::Cifar10 => cifar(cifar::CifarKind::Cifar10, folder)?,
        DatasetChoice::Cifar100 => cifar(cifar::CifarKind::Cifar100, folder)?,
    };
    let [train, valid] = sides.map(InMemDataset::new);
    let batcher = SmallImagesBatcher::new(dataset.shape(), normalization, dataset.augmentation());
    Ok(ImageData {
        train,
        valid,
        batcher,
    })
}

/// Images to train on and to validate with, and how they are normalized.
type Sides = ([Vec<SmallImage>; 2], Normalization);

fn cifar(kind: cifar::CifarKind, folder: Option<&Path>) -> Result<Sides, cifar::CifarError> {
    let sides = match folder {
        Some(folder) => cifar::read(kind, folder),
        None => cifar::download(kind),
    };
    Ok((sides?, kind.normalization()))
}

fn mnist() -> Result<Sides, String> {
    let mnist = mnist::load()?;
    let sides = [mnist.train, mnist.valid].map(|side| {
        let items = side.iter().enumerate();
        items.map(|(index, item)| gray(index, item)).collect()
    });
    Ok((
        sides,
        Normalization::new(vec![mnist::MEAN], vec![mnist::STD]),
    ))
}

fn gray(index: usize, item: MnistItem) -> SmallImage {
    let values = item.image.as_flattened();
    SmallImage {
        pixels: values.iter().map(|value| *value as u8).collect(),
        label: item.label.into(),
        index,
    }
}

fn digits() -> Sides {
    let sides = [DigitsDataset::train(), DigitsDataset::test()].map(|side| {
        let items = side.iter().enumerate();
        items.map(|(index, item)| digit(index, &item)).collect()
    });
    (
        sides,
        Normalization::new(vec![digits::MEAN], vec![digits::STD]),
    )
}

fn digit(index: usize, item: &DigitItem) -> SmallImage {
    SmallImage {
        pixels: item.image.iter().map(|value| *value as u8).collect(),
        label: item.label.into(),
        index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of both sets are whole numbers, so nothing is lost in bytes; pixels column by column would show here.
    #[test]
    fn gray_images_keep_their_values_row_by_row() {
        let mut item = MnistItem {
            image: [[0.0; mnist::SIZE]; mnist::SIZE],
            label: 7,
        };
        item.image[2][5] = 255.0;

        let image = gray(3, item);

        assert_eq!(image.pixels[2 * mnist::SIZE + 5], 255);
        assert_eq!(image.pixels.iter().filter(|value| **value > 0).count(), 1);
        assert_eq!((image.label, image.index), (7, 3));

        let item = DigitsDataset::train().get(1).expect("there is a second");
        let image = digit(1, &item);
        let values: Vec<f32> = image.pixels.iter().map(|value| f32::from(*value)).collect();
        assert_eq!(values, item.image);
    }
}
