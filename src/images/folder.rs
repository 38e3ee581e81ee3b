//! Small images in folders, all of them in memory; [`files`] says how folders are laid out.

use std::path::Path;

use image::imageops::{self, FilterType};

use super::files::{self, FolderError, ImageFile};
use super::{Image, ImageShape, Images, Normalization};

/// Red, green and blue.
const CHANNELS: usize = 3;

/// The images, and what is known of their folder.
pub struct ImageFolder {
    /// The images.
    pub images: Images,
    /// A remark on the folder, see [`remark`](files::ImageFiles::remark).
    pub remark: Option<String>,
    /// By which a changed folder is known, see [`fingerprint`](files::ImageFiles::fingerprint).
    pub fingerprint: u64,
}

/// Loads all images of a folder, each resized to `size × size`; the classes are the folders in `train`, in order. Values are
/// normalized to −1 (none) to 1 (full).
///
/// # Errors
/// If an image cannot be read, or those of [`files::list`].
pub fn load(root: &Path, size: usize) -> Result<ImageFolder, FolderError> {
    let files = files::list(root)?;
    Ok(ImageFolder {
        remark: files.remark(),
        fingerprint: files.fingerprint(root),
        images: Images {
            train: side(&files.train, size)?,
            valid: side(&files.valid, size)?,
            shape: ImageShape {
                size,
                channels: CHANNELS,
                classes: files.classes.len(),
            },
            normalization: Normalization::of_shares([0.5; CHANNELS], [0.5; CHANNELS]),
        },
    })
}

fn side(files: &[ImageFile], size: usize) -> Result<Vec<Image>, FolderError> {
    let images = files.iter().map(|file| {
        let image = file.decode()?;
        let size = size as u32;
        let image = imageops::resize(&image, size, size, FilterType::Triangle);
        let pixels = |channel| image.as_raw().iter().skip(channel).step_by(CHANNELS);
        Ok(Image {
            pixels: (0..CHANNELS).flat_map(pixels).copied().collect(),
            label: file.label,
        })
    });
    images.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;
    use crate::images::ImageBatch;
    use crate::images::files::tests::folder;
    use std::fs;

    #[test]
    fn classes_are_the_folders_in_order_and_channels_come_first() {
        let root = folder();
        let loaded = load(root.path(), 4).expect("the folder is right");
        let image = &loaded.images.train[1];
        let batch: ImageBatch<Selected> = loaded.images.batch([image], &Default::default());
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
