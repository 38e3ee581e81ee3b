//! Images in folders: `ROOT/train/CLASS/*` and `ROOT/val/CLASS/*`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use image::ImageError;
use image::imageops::FilterType;
use thiserror::Error;

use crate::image_batch::ImageBatch;
use crate::image_data::ImageData;

/// Red, green and blue.
pub const CHANNELS: usize = 3;

const EXTENSIONS: [&str; 4] = ["bmp", "jpeg", "jpg", "png"];

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
}

/// A folder that cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It cannot be listed.
    #[error(
        "{folder} cannot be listed ({error}); images are expected in ROOT/train/CLASS and ROOT/val/CLASS"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It holds nothing to train on or to validate with.
    #[error(
        "{folder} has no image: files ending in bmp, jpeg, jpg or png are expected in a folder for each class"
    )]
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// A class is to be validated that is not trained.
    #[error("{folder} has the class `{class}`, which train does not have")]
    UnknownClass {
        /// The folder.
        folder: PathBuf,
        /// The class.
        class: String,
    },
    /// A file is not the image that its name says.
    #[error("{file}: {error}")]
    Image {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: ImageError,
    },
}

/// Loads all images of a folder, each resized to `size × size`.
///
/// # Errors
/// If a folder or an image cannot be read, or a side of the split is empty or has classes of its own.
pub fn load(root: &Path, size: usize) -> Result<ImageFolder, FolderError> {
    let [train, valid] = ["train", "val"].map(|side| root.join(side));
    let classes = names(&train)?;
    Ok(ImageFolder {
        data: ImageData {
            train: side(&train, &classes, size)?,
            valid: side(&valid, &classes, size)?,
            batcher: FolderBatcher { size },
        },
        classes,
    })
}

fn side(
    folder: &Path,
    classes: &[String],
    size: usize,
) -> Result<InMemDataset<FolderItem>, FolderError> {
    let mut items = Vec::new();
    for class in names(folder)? {
        let label = classes.binary_search(&class);
        let label = label.map_err(|_| FolderError::UnknownClass {
            folder: folder.to_path_buf(),
            class: class.clone(),
        })?;
        for file in list(&folder.join(class))?
            .into_iter()
            .filter(|file| is_image(file))
        {
            let pixels = pixels(&file, size)?;
            items.push(FolderItem { pixels, label });
        }
    }
    if items.is_empty() {
        return Err(FolderError::Empty {
            folder: folder.to_path_buf(),
        });
    }
    Ok(InMemDataset::new(items))
}

fn pixels(file: &Path, size: usize) -> Result<Vec<u8>, FolderError> {
    let image = image::open(file).map_err(|error| FolderError::Image {
        file: file.to_path_buf(),
        error,
    })?;
    let size = size as u32;
    Ok(image
        .resize_exact(size, size, FilterType::Triangle)
        .into_rgb8()
        .into_raw())
}

/// The folders in a folder.
fn names(folder: &Path) -> Result<Vec<String>, FolderError> {
    let folders = list(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(folders
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |error| FolderError::Folder {
        folder: folder.to_path_buf(),
        error,
    };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn is_image(file: &Path) -> bool {
    let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| extension == *known)
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
    use burn::data::dataset::Dataset;
    use image::{Rgb, RgbImage};

    /// A folder with a red and a blue image on each side.
    fn folder() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        for side in ["train", "val"] {
            for (class, color) in [("red", [255, 0, 0]), ("blue", [0, 0, 255])] {
                let folder = root.path().join(side).join(class);
                fs::create_dir_all(&folder).expect("it can be made");
                RgbImage::from_pixel(5, 3, Rgb(color))
                    .save(folder.join("1.png"))
                    .expect("it can be written");
            }
        }
        root
    }

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
    fn what_is_wrong_with_a_folder_is_named() {
        let said = |root: &Path| match load(root, 4) {
            Ok(_) => panic!("the folder is wrong"),
            Err(error) => error.to_string(),
        };
        let root = folder();
        assert!(said(&root.path().join("nowhere")).contains("ROOT/train/CLASS"));

        fs::create_dir(root.path().join("val/green")).expect("it can be made");
        assert!(said(root.path()).contains("has the class `green`"));
        fs::remove_dir(root.path().join("val/green")).expect("it is there");

        fs::write(root.path().join("val/red/2.png"), "text").expect("it can be written");
        assert!(said(root.path()).contains("2.png"));
    }
}
