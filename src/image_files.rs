//! The images in a folder, as a list of files: `ROOT/train/CLASS/*` and `ROOT/val/CLASS/*`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::{ImageError, ImageReader, RgbImage};
use thiserror::Error;

const EXTENSIONS: [&str; 4] = ["bmp", "jpeg", "jpg", "png"];

/// The files of a folder of images, and the names of their classes.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    /// The names of the folders in `train`, in order.
    pub classes: Vec<String>,
    /// The images to train on.
    pub train: Vec<ImageFile>,
    /// The images to validate on.
    pub valid: Vec<ImageFile>,
}

/// An image that is not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// The file.
    pub path: PathBuf,
    /// The index of its class.
    pub label: usize,
    /// Its place in the list, by which what is random about it can be drawn whatever the order it is used in.
    pub index: usize,
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
    /// A file is not an image.
    #[error("{file}: {error}")]
    Image {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: ImageError,
    },
}

/// Lists the images of a folder without reading any.
///
/// # Errors
/// If a folder cannot be read, or a side of the split is empty or has classes of its own.
pub fn list(root: &Path) -> Result<ImageFiles, FolderError> {
    let [train, valid] = ["train", "val"].map(|side| root.join(side));
    let classes = names(&train)?;
    Ok(ImageFiles {
        train: side(&train, &classes)?,
        valid: side(&valid, &classes)?,
        classes,
    })
}

impl ImageFile {
    /// Reads the file; what it is depends on its content, since files of one format that are named as of another are
    /// common (ImageNet has one).
    ///
    /// # Errors
    /// [`FolderError::Image`] with the name of the file, if it cannot be read or decoded.
    pub fn decode(&self) -> Result<RgbImage, FolderError> {
        let decoded = ImageReader::open(&self.path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(ImageError::from)
            .and_then(ImageReader::decode);
        match decoded {
            Ok(image) => Ok(image.into_rgb8()),
            Err(error) => Err(FolderError::Image {
                file: self.path.clone(),
                error,
            }),
        }
    }
}

fn side(folder: &Path, classes: &[String]) -> Result<Vec<ImageFile>, FolderError> {
    let mut files = Vec::new();
    for class in names(folder)? {
        let label = classes.binary_search(&class);
        let label = label.map_err(|_| FolderError::UnknownClass {
            folder: folder.to_path_buf(),
            class: class.clone(),
        })?;
        for path in entries(&folder.join(class))? {
            if is_image(&path) {
                let index = files.len();
                files.push(ImageFile { path, label, index });
            }
        }
    }
    if files.is_empty() {
        return Err(FolderError::Empty {
            folder: folder.to_path_buf(),
        });
    }
    Ok(files)
}

/// The folders in a folder.
fn names(folder: &Path) -> Result<Vec<String>, FolderError> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(folders
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use image::{ImageFormat, Rgb};

    /// A folder with a red and a blue image on each side, 5 wide and 3 high.
    pub(crate) fn folder() -> tempfile::TempDir {
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
    fn files_are_listed_class_by_class_and_read_when_asked_for() {
        let root = folder();
        let files = list(root.path()).expect("the folder is right");

        assert_eq!(files.classes, ["blue", "red"]);
        assert_eq!(
            files
                .train
                .iter()
                .map(|file| (file.label, file.index))
                .collect::<Vec<_>>(),
            [(0, 0), (1, 1)]
        );
        let image = files.valid[1].decode().expect("it is an image");
        assert_eq!(
            (image.dimensions(), image[(4, 2)]),
            ((5, 3), Rgb([255, 0, 0]))
        );
    }

    #[test]
    fn a_file_is_read_as_what_it_is_whatever_its_name() {
        let root = folder();
        let path = root.path().join("train/red/0.jpg");
        RgbImage::from_pixel(2, 2, Rgb([9, 9, 9]))
            .save_with_format(&path, ImageFormat::Png)
            .expect("it can be written");
        let (label, index) = (0, 0);
        let image = ImageFile { path, label, index }.decode();
        assert_eq!(image.expect("it is a PNG")[(1, 1)], Rgb([9, 9, 9]));
    }

    #[test]
    fn a_file_that_is_no_image_is_named() {
        let root = folder();
        let path = root.path().join("val/red/2.png");
        fs::write(&path, "text").expect("it can be written");
        let files = list(root.path()).expect("it is not read yet");
        let error = files.valid[2].decode().expect_err("it is no image");
        assert!(error.to_string().contains("2.png: "), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_named() {
        let said = |root: &Path| match list(root) {
            Ok(_) => panic!("the folder is wrong"),
            Err(error) => error.to_string(),
        };
        let root = folder();
        assert!(said(&root.path().join("nowhere")).contains("ROOT/train/CLASS"));

        fs::create_dir(root.path().join("val/green")).expect("it can be made");
        assert!(said(root.path()).contains("has the class `green`"));
        fs::remove_dir(root.path().join("val/green")).expect("it is there");

        for class in ["red", "blue"] {
            fs::remove_file(root.path().join("val").join(class).join("1.png"))
                .expect("it is there");
        }
        assert!(said(root.path()).contains("val has no image"));
    }
}
