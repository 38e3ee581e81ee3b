//! Small images in folders, all of them in memory; [`crate::image_files`] says how folders are laid out.

use std::path::Path;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use image::imageops::{self, FilterType};

use crate::image_data::{ImageBatch, ImageData};
use crate::image_files::{self, FolderError, ImageFile};

/// Red, green and blue.
pub const CHANNELS: usize = 3;

/// An image of a folder, resized.
#[derive(Clone, Debug)]
pub struct FolderItem {
    /// Red, green and blue of each pixel, row by row.
    pixels: Vec<u8>,
    label: usize,
}

/// The images, and the names of their classes.
pub struct ImageFolder {
    /// Both sides of the split.
    pub data: ImageData<InMemDataset<FolderItem>, FolderBatcher>,
    /// The names of the folders in `train`, in order.
    pub classes: Vec<String>,
    /// A remark on the folder, see [`remark`](image_files::ImageFiles::remark).
    pub remark: Option<String>,
    /// By which a changed folder is known, see [`fingerprint`](image_files::ImageFiles::fingerprint).
    pub fingerprint: u64,
}

/// Loads all images of a folder, each resized to `size × size`.
///
/// # Errors
/// If an image cannot be read, or those of [`image_files::list`].
pub fn load(root: &Path, size: usize) -> Result<ImageFolder, FolderError> {
    let files = image_files::list(root)?;
    Ok(ImageFolder {
        data: ImageData {
            train: side(&files.train, size)?,
            valid: side(&files.valid, size)?,
            batcher: FolderBatcher { size },
        },
        remark: files.remark(),
        fingerprint: files.fingerprint(root),
        classes: files.classes,
    })
}

fn side(files: &[ImageFile], size: usize) -> Result<InMemDataset<FolderItem>, FolderError> {
    let items = files.iter().map(|file| {
        let image = file.decode()?;
        let size = size as u32;
        Ok(FolderItem {
            pixels: imageops::resize(&image, size, size, FilterType::Triangle).into_raw(),
            label: file.label,
        })
    });
    let items: Result<Vec<_>, _> = items.collect();
    Ok(InMemDataset::new(items?))
}

/// Makes batches: channels first, from −1 (none) to 1 (full).
#[derive(Clone, Copy, Debug)]
pub struct FolderBatcher {
    size: usize,
}

impl<B: Backend> Batcher<B, FolderItem, ImageBatch<B>> for FolderBatcher {
    fn batch(&self, items: Vec<FolderItem>, device: &B::Device) -> ImageBatch<B> {
        let pixels: Vec<f32> = items
            .iter()
            .flat_map(|item| &item.pixels)
            .map(|value| f32::from(*value) / 127.5 - 1.0)
            .collect();
        let labels: Vec<i64> = items.iter().map(|item| item.label as i64).collect();
        let shape = [items.len(), self.size, self.size, CHANNELS];
        let images = Tensor::<B, 4>::from_data(TensorData::new(pixels, shape), device);
        ImageBatch {
            images: images.permute([0, 3, 1, 2]),
            targets: Tensor::from_data(TensorData::new(labels, [items.len()]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;
    use crate::image_files::tests::folder;
    use burn::data::dataset::Dataset;
    use std::fs;

    #[test]
    fn classes_are_the_folders_in_order_and_channels_come_first() {
        let root = folder();
        let loaded = load(root.path(), 4).expect("the folder is right");
        assert_eq!(loaded.classes, ["blue", "red"]);
        let item = loaded.data.train.get(1).expect("there are two");
        let batch: ImageBatch<Selected> =
            loaded.data.batcher.batch(vec![item], &Default::default());
        assert_eq!(batch.images.dims(), [1, 3, 4, 4]);
        let values: Vec<f32> = batch.images.into_data().iter().collect();
        assert!(values[..16].iter().all(|value| *value == 1.0));
        assert!(values[16..].iter().all(|value| *value == -1.0));
        assert_eq!(batch.targets.into_data().iter::<i64>().next(), Some(1));
    }

    #[test]
    fn a_file_that_is_no_image_is_named() {
        let root = folder();
        fs::write(root.path().join("val/red/2.png"), "text").expect("it can be written");
        let error = load(root.path(), 4).err().expect("it is no image");
        assert!(error.to_string().contains("2.png"), "{error}");
    }
}
