//! The images in a folder, as a list of files: `ROOT/train/CLASS/*` and `ROOT/val/CLASS/*`.
//!
//! Files and folders whose names begin with a dot are left out: systems and tools put folders and files like that anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::{ImageError, ImageReader, RgbImage};
use thiserror::Error;

use crate::fingerprint::fingerprint;

const EXTENSIONS: [&str; 4] = ["bmp", "jpeg", "jpg", "png"];

/// Classes that a remark names; the others it counts.
const NAMED: usize = 5;

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
        /// The system's message.
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
    /// A class has nothing to train on.
    #[error(
        "{folder} has no image: a class in train needs one or more files ending in bmp, jpeg, jpg or png"
    )]
    EmptyClass {
        /// The folder of the class.
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
        /// The fault.
        error: ImageError,
    },
}

/// Lists the images of a folder without reading any.
///
/// # Errors
/// If a folder cannot be read, a side of the split is empty, a class has nothing to train on, or only `val` has it.
pub fn list(root: &Path) -> Result<ImageFiles, FolderError> {
    let [train, valid] = ["train", "val"].map(|side| root.join(side));
    let classes = names(&train)?;
    let files = side(&train, &classes)?;
    if let Some(class) = without_images(&classes, &files).first() {
        return Err(FolderError::EmptyClass {
            folder: train.join(class),
        });
    }
    Ok(ImageFiles {
        train: files,
        valid: side(&valid, &classes)?,
        classes,
    })
}

impl ImageFiles {
    /// A remark on a lone class, or on the classes that are trained and have no image to validate with; none if there is no such
    /// class.
    pub fn remark(&self) -> Option<String> {
        if let [class] = self.classes.as_slice() {
            return Some(format!(
                "train has the one class {class}: whatever the network says is right"
            ));
        }
        let classes = without_images(&self.classes, &self.valid);
        let named = classes.len().min(NAMED);
        let names = classes[..named].join(", ");
        let more = match classes.len() - named {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        (named > 0).then(|| format!("val has no image of these classes of train: {names}{more}"))
    }

    /// A number by which this list is told from one of other files; those of another `root` with the same names are the same.
    pub fn fingerprint(&self, root: &Path) -> u64 {
        let files = self.train.iter().chain(&self.valid);
        let names = files.map(|file| file.path.strip_prefix(root).unwrap_or(&file.path));
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        fingerprint(names.join("\n"))
    }
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
                files.push(ImageFile { path, label });
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

/// The classes of which there is no file.
fn without_images<'a>(classes: &'a [String], files: &[ImageFile]) -> Vec<&'a str> {
    let mut found = vec![false; classes.len()];
    for file in files {
        found[file.label] = true;
    }
    let classes = classes.iter().zip(found);
    let classes = classes.filter(|(_, found)| !found);
    classes.map(|(class, _)| class.as_str()).collect()
}

/// The folders in a folder.
fn names(folder: &Path) -> Result<Vec<String>, FolderError> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(folders
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect())
}

/// The contents of a folder that are not hidden, in order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |error| FolderError::Folder {
        folder: folder.to_path_buf(),
        error,
    };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.retain(|path| !is_hidden(path));
    paths.sort();
    Ok(paths)
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

fn is_image(file: &Path) -> bool {
    let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| extension == *known)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use image::{GrayImage, ImageFormat, Luma, Rgb};

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
                .map(|file| file.label)
                .collect::<Vec<_>>(),
            [0, 1]
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
        let image = ImageFile { path, label: 0 }.decode();
        assert_eq!(image.expect("it is a PNG")[(1, 1)], Rgb([9, 9, 9]));
    }

    #[test]
    fn a_gray_image_has_three_equal_channels() {
        let root = folder();
        let path = root.path().join("val/red/2.png");
        let mut image = GrayImage::from_pixel(4, 3, Luma([7]));
        image.put_pixel(3, 1, Luma([200]));
        image.save(&path).expect("it can be written");

        let files = list(root.path()).expect("the folder is right");
        let image = files.valid[2].decode().expect("it is an image");
        assert_eq!(image.dimensions(), (4, 3));
        assert_eq!((image[(3, 1)], image[(0, 0)]), (Rgb([200; 3]), Rgb([7; 3])));
    }

    /// As macOS, editors and notebooks leave them.
    #[test]
    fn hidden_files_and_folders_are_left_out() {
        let root = folder();
        let expected = list(root.path()).expect("the folder is right");
        for side in ["train", "val"] {
            let side = root.path().join(side);
            fs::create_dir(side.join(".checkpoints")).expect("it can be made");
            fs::copy(side.join("red/1.png"), side.join(".checkpoints/1.png"))
                .expect("it can be copied");
            fs::write(side.join("red/._1.png"), "attributes").expect("it can be written");
        }
        let files = list(root.path()).expect("what is hidden is nothing wrong");
        assert_eq!(files.classes, expected.classes);
        assert_eq!(files.train, expected.train);
        assert_eq!(files.valid, expected.valid);
    }

    #[test]
    fn classes_that_are_not_validated_are_named() {
        let root = folder();
        let remark = || list(root.path()).expect("the folder is right").remark();
        assert_eq!(remark(), None);

        fs::remove_file(root.path().join("val/red/1.png")).expect("it is there");
        let answer = "val has no image of these classes of train: red";
        assert_eq!(remark().as_deref(), Some(answer));

        for class in 0..7 {
            let folder = root.path().join(format!("train/a{class}"));
            fs::create_dir(&folder).expect("it can be made");
            fs::copy(root.path().join("train/red/1.png"), folder.join("1.png"))
                .expect("it can be copied");
        }
        let answer = "val has no image of these classes of train: a0, a1, a2, a3, a4 and 3 more";
        assert_eq!(remark().as_deref(), Some(answer));
    }

    #[test]
    fn a_lone_class_is_remarked_on() {
        let root = folder();
        for side in ["train", "val"] {
            fs::remove_dir_all(root.path().join(side).join("red")).expect("it is there");
        }
        let remark = list(root.path()).expect("the folder can be used").remark();
        let remark = remark.expect("nothing can be learnt of it");
        assert!(remark.contains("the one class blue"), "{remark}");
    }

    #[test]
    fn a_folder_without_classes_is_named() {
        let root = folder();
        for class in ["red", "blue"] {
            fs::remove_dir_all(root.path().join("train").join(class)).expect("it is there");
        }
        let error = list(root.path()).expect_err("there is no class");
        assert!(
            error.to_string().contains("train has no image: "),
            "{error}"
        );
    }

    /// A file more and a file less leave the numbers of images as they are.
    #[test]
    fn a_list_of_other_files_has_another_fingerprint() {
        let (root, other) = (folder(), folder());
        let fingerprint = |root: &Path| {
            let files = list(root).expect("the folder is right");
            files.fingerprint(root)
        };
        assert_eq!(fingerprint(root.path()), fingerprint(other.path()));

        let red = other.path().join("train/red");
        fs::rename(red.join("1.png"), red.join("2.png")).expect("it is there");
        assert_ne!(fingerprint(root.path()), fingerprint(other.path()));
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
        fs::create_dir(root.path().join("train/green")).expect("it can be made");
        assert!(said(root.path()).contains("train/green has no image: a class in train needs one"));
        for side in ["train", "val"] {
            fs::remove_dir(root.path().join(side).join("green")).expect("it is there");
        }

        for class in ["red", "blue"] {
            fs::remove_file(root.path().join("val").join(class).join("1.png"))
                .expect("it is there");
        }
        assert!(said(root.path()).contains("val has no image"));
    }
}
