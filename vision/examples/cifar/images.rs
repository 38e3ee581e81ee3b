//! All images of a run.

use std::error::Error;
use std::path::Path;

use burn::data::dataset::Dataset;
use burn_dataset::vision::MnistItem;
use mac_burn_examples::digits::{DigitItem, DigitsDataset};
use mac_burn_examples::{digits, mnist};
use mac_burn_vision::small_images::{SmallImage, SmallImages};
use mac_burn_vision::{Normalization, cifar};

use crate::dataset_choice::DatasetChoice;

/// Loads a data set, CIFAR from a folder if one is given.
///
/// # Errors
/// If it cannot be downloaded or read.
pub(crate) fn load(
    dataset: DatasetChoice,
    folder: Option<&Path>,
) -> Result<SmallImages, Box<dyn Error>> {
    let ([train, valid], normalization) = match dataset {
        DatasetChoice::Digits => digits(),
        DatasetChoice::Mnist => mnist()?,
        DatasetChoice::Cifar10 => cifar(cifar::CifarKind::Cifar10, folder)?,
        DatasetChoice::Cifar100 => cifar(cifar::CifarKind::Cifar100, folder)?,
    };
    Ok(SmallImages {
        train,
        valid,
        shape: dataset.shape(),
        normalization,
        augmentation: dataset.augmentation(),
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
    let sides = [mnist.train, mnist.valid].map(|side| side.iter().map(gray).collect());
    Ok((
        sides,
        Normalization::new(vec![mnist::MEAN], vec![mnist::STD]),
    ))
}

fn gray(item: MnistItem) -> SmallImage {
    let values = item.image.as_flattened();
    SmallImage {
        pixels: values.iter().map(|value| *value as u8).collect(),
        label: item.label.into(),
    }
}

fn digits() -> Sides {
    let sides = [DigitsDataset::train(), DigitsDataset::test()];
    let sides = sides.map(|side| side.iter().map(|item| digit(&item)).collect());
    (
        sides,
        Normalization::new(vec![digits::MEAN], vec![digits::STD]),
    )
}

fn digit(item: &DigitItem) -> SmallImage {
    SmallImage {
        pixels: item.image.iter().map(|value| *value as u8).collect(),
        label: item.label.into(),
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

        let image = gray(item);

        assert_eq!(image.pixels[2 * mnist::SIZE + 5], 255);
        assert_eq!(image.pixels.iter().filter(|value| **value > 0).count(), 1);
        assert_eq!(image.label, 7);

        let item = DigitsDataset::train().get(1).expect("there is a second");
        let image = digit(&item);
        let values: Vec<f32> = image.pixels.iter().map(|value| f32::from(*value)).collect();
        assert_eq!(values, item.image);
    }
}
