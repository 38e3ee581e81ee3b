use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Images that cannot be used.
#[derive(Debug, Error)]
pub enum CifarError {
    /// A file of the binary version is missing, or cannot be read.
    #[error("{} cannot be read ({error}); the binary version has the files {expected}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system's message.
        error: io::Error,
        /// The files of the binary version.
        expected: String,
    },
    /// A file of the binary version is empty, or ends within an image.
    #[error(
        "{} has {bytes} bytes; images of {record} bytes each are expected, and at least one", file.display()
    )]
    Length {
        /// The file.
        file: PathBuf,
        /// Its length.
        bytes: usize,
        /// The bytes of an image, its labels included.
        record: usize,
    },
    /// An image has a class that there is not.
    #[error("{}: image {image} has the class {label}; classes 0 to {} are expected", file.display(), classes - 1)]
    Label {
        /// The file.
        file: PathBuf,
        /// Index of the image in the file, from 0.
        image: usize,
        /// Its class.
        label: u8,
        /// The number of classes.
        classes: usize,
    },
    /// burn-dataset could not download the images, or not unpack them.
    #[error(
        "CIFAR could not be loaded; it is downloaded when it is first used, --data-dir takes the binary version, and \
         --dataset digits needs no download\n  burn-dataset: {reason}"
    )]
    Download {
        /// Its message.
        reason: String,
    },
    /// A downloaded file is not an image of the set.
    #[error(
        "{file} is not an image of 32×32 pixels of three bytes in one of {classes} classes; delete the folder for it to be \
         downloaded anew"
    )]
    Image {
        /// The file.
        file: String,
        /// The number of classes.
        classes: usize,
    },
}
