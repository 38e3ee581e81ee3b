use burn::data::dataset::Dataset;
use burn_dataset::vision::{
    Annotation, CifarDataset, CifarType, ImageDatasetItem, ImageFolderDataset, PixelDepth,
};

use super::{CHANNELS, CifarError, CifarKind, SIZE};
use mac_burn_examples::caught::caught;
use mac_burn_examples::images::Image;

/// Loads the images by burn-dataset, which downloads them when they are first used: those to train on, and those to
/// test with. All of them are decoded, so that no epoch has to.
///
/// # Errors
/// If that fails, as without a network.
pub fn download(kind: CifarKind) -> Result<[Vec<Image>; 2], CifarError> {
    let kind_there = match kind {
        CifarKind::Cifar10 => CifarType::Cifar10,
        CifarKind::Cifar100 => CifarType::Cifar100,
    };
    let sides = caught(|| {
        let dataset = CifarDataset::new(kind_there);
        [dataset.train(), dataset.test()].map(|side| images(kind, &side))
    });
    let [train, test] = sides.map_err(|panicked| CifarError::Download {
        reason: panicked.message,
    })?;
    Ok([train?, test?])
}

fn images(kind: CifarKind, dataset: &ImageFolderDataset) -> Result<Vec<Image>, CifarError> {
    dataset.iter().map(|item| image(kind, item)).collect()
}

fn image(kind: CifarKind, item: ImageDatasetItem) -> Result<Image, CifarError> {
    let (label, pixels) = (label(kind, &item), pixels(&item));
    match label.zip(pixels) {
        Some((label, pixels)) => Ok(Image { pixels, label }),
        None => Err(CifarError::Image {
            file: item.image_path,
            classes: kind.classes(),
        }),
    }
}

fn label(kind: CifarKind, item: &ImageDatasetItem) -> Option<usize> {
    match item.annotation {
        Annotation::Label(label) if label < kind.classes() => Some(label),
        _ => None,
    }
}

/// Channel by channel, where the file has them pixel by pixel.
fn pixels(item: &ImageDatasetItem) -> Option<Vec<u8>> {
    let size = (item.image_width, item.image_height, item.image.len());
    if size != (SIZE, SIZE, CHANNELS * SIZE * SIZE) {
        return None;
    }
    (0..CHANNELS)
        .flat_map(|channel| item.image.iter().skip(channel).step_by(CHANNELS))
        .map(|value| match value {
            PixelDepth::U8(value) => Some(*value),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use std::fs;

    /// As the archive has them: `fine class/file.png` below any folder.
    fn folder(size: u32) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        for (class, value) in [("mammals/beaver", 1), ("flowers/rose", 100)] {
            let folder = root.path().join(class);
            fs::create_dir_all(&folder).expect("it can be made");
            RgbImage::from_pixel(size, size, Rgb([value, value + 1, value + 2]))
                .save(folder.join("1.png"))
                .expect("it can be written");
        }
        root
    }

    fn load(root: &tempfile::TempDir) -> Result<Vec<Image>, CifarError> {
        let dataset =
            ImageFolderDataset::new_classification(root.path()).expect("the folder can be listed");
        images(CifarKind::Cifar100, &dataset)
    }

    #[test]
    fn a_downloaded_image_has_its_channels_one_after_the_other() {
        let loaded = load(&folder(32)).expect("the images are right");

        let beaver = loaded
            .iter()
            .find(|image| image.label == 0)
            .expect("classes are in the order of their names");
        assert_eq!(beaver.pixels[..1024], [1; 1024]);
        assert_eq!(beaver.pixels[1024..2048], [2; 1024]);
        assert_eq!(beaver.pixels[2048..], [3; 1024]);
        assert_eq!(loaded.len(), 2);
    }

    #[test]
    fn a_file_of_another_size_is_named() {
        let error = load(&folder(16)).expect_err("the images are too small");

        assert!(
            error.to_string().contains("1.png is not an image of 32×32"),
            "{error}"
        );
    }
}
