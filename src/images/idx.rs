//! Data sets of gray images in the files of MNIST's format, IDX: MNIST itself, Fashion-MNIST, KMNIST and others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Image, ImageShape, Images, Normalization};

/// The first bytes of a file of images and of one of labels: unsigned bytes on three axes and on one.
const MAGIC: [[u8; 4]; 2] = [[0, 0, 8, 3], [0, 0, 8, 1]];

/// Why a data set cannot be read.
#[derive(Debug, Error)]
pub enum IdxError {
    /// A file cannot be read.
    #[error(
        "{file}: {error}; the folder of a data set has train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
         t10k-labels-idx1-ubyte, unpacked"
    )]
    File {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A file is of another kind.
    #[error("{file} is no file of {expected}: it must begin with the bytes {magic:?}")]
    Kind {
        /// The file.
        file: PathBuf,
        /// The contents that are expected.
        expected: &'static str,
        /// The bytes that it should begin with.
        magic: [u8; 4],
    },
    /// A file is shorter or longer than its header says.
    #[error("{file} has {found} bytes, and its header says {expected}")]
    Length {
        /// The file.
        file: PathBuf,
        /// Its length.
        found: usize,
        /// The length by its header.
        expected: usize,
    },
    /// Images are not square, or there are none.
    #[error(
        "{file} has {count} images of {rows}x{columns} pixels; one or more square ones are expected"
    )]
    Shape {
        /// The file.
        file: PathBuf,
        /// The number of images.
        count: usize,
        /// The height.
        rows: usize,
        /// The width.
        columns: usize,
    },
    /// There are not as many labels as images, or test images are of another size.
    #[error("{file} does not fit the other files: it has {found}, and {expected} are expected")]
    Mismatch {
        /// The file.
        file: PathBuf,
        /// The contents.
        found: String,
        /// The contents of the other file.
        expected: String,
    },
}

/// Reads the four files of a folder; the images of `t10k` are those to validate on. Pixels are normalized by the mean and the
/// standard deviation of all pixels to train on.
///
/// # Errors
/// If a file is missing, has another format, or does not fit the others.
pub fn load(folder: &Path) -> Result<Images, IdxError> {
    let (size, train) = side(folder, "train")?;
    let (test_size, valid) = side(folder, "t10k")?;
    if test_size != size {
        let pixels = |size| format!("images of {size}x{size} pixels");
        return Err(IdxError::Mismatch {
            file: folder.join("t10k-images-idx3-ubyte"),
            found: pixels(test_size),
            expected: pixels(size),
        });
    }
    let classes = train.iter().chain(&valid).map(|image| image.label).max();
    Ok(Images {
        normalization: normalization(&train),
        shape: ImageShape {
            size,
            channels: 1,
            classes: classes.unwrap_or(0) + 1,
        },
        train,
        valid,
    })
}

/// Images and their height, of the two files whose names begin with `part`.
fn side(folder: &Path, part: &str) -> Result<(usize, Vec<Image>), IdxError> {
    let images = folder.join(format!("{part}-images-idx3-ubyte"));
    let labels = folder.join(format!("{part}-labels-idx1-ubyte"));
    let (axes, pixels) = read::<3>(&images, "images", MAGIC[0])?;
    let ([labelled], classes) = read::<1>(&labels, "labels", MAGIC[1])?;
    let [count, rows, columns] = axes;
    if count == 0 || rows == 0 || rows != columns {
        return Err(IdxError::Shape {
            file: images,
            count,
            rows,
            columns,
        });
    }
    if labelled != count {
        return Err(IdxError::Mismatch {
            file: labels,
            found: format!("{labelled} labels"),
            expected: count.to_string(),
        });
    }
    let images = pixels.chunks_exact(rows * columns).zip(classes);
    let images = images.map(|(pixels, label)| Image {
        pixels: pixels.to_vec(),
        label: label.into(),
    });
    Ok((rows, images.collect()))
}

/// The lengths of the axes, and the bytes.
fn read<const AXES: usize>(
    file: &Path,
    expected: &'static str,
    magic: [u8; 4],
) -> Result<([usize; AXES], Vec<u8>), IdxError> {
    let mut bytes = fs::read(file).map_err(|error| IdxError::File {
        file: file.to_path_buf(),
        error,
    })?;
    let header = 4 * (AXES + 1);
    if bytes.len() < header || bytes[..4] != magic {
        return Err(IdxError::Kind {
            file: file.to_path_buf(),
            expected,
            magic,
        });
    }
    let values = bytes.split_off(header);
    let mut axes = [0; AXES];
    for (axis, bytes) in axes.iter_mut().zip(bytes[4..].chunks_exact(4)) {
        *axis = bytes
            .iter()
            .fold(0, |value, byte| 256 * value + usize::from(*byte));
    }
    let length = axes
        .iter()
        .fold(1_usize, |product, axis| product.saturating_mul(*axis));
    match values.len() == length {
        true => Ok((axes, values)),
        false => Err(IdxError::Length {
            file: file.to_path_buf(),
            found: header + values.len(),
            expected: header.saturating_add(length),
        }),
    }
}

fn normalization(images: &[Image]) -> Normalization {
    let pixels = || images.iter().flat_map(|image| &image.pixels);
    let count = pixels().count() as f64;
    let mean = pixels().map(|pixel| f64::from(*pixel)).sum::<f64>() / count;
    let squares = pixels().map(|pixel| (f64::from(*pixel) - mean).powi(2));
    // Images of one gray alone have nothing to be divided by.
    let deviation = (squares.sum::<f64>() / count).sqrt().max(1.0);
    Normalization::new(vec![mean as f32], vec![deviation as f32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(magic: [u8; 4], axes: &[u32], values: &[u8]) -> Vec<u8> {
        let axes = axes.iter().flat_map(|axis| axis.to_be_bytes());
        magic
            .into_iter()
            .chain(axes)
            .chain(values.iter().copied())
            .collect()
    }

    /// A folder with two images to train on and one to test with, of 2×2 pixels.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let put = |name: &str, bytes: Vec<u8>| {
            fs::write(folder.path().join(name), bytes).expect("it can be written");
        };
        put(
            "train-images-idx3-ubyte",
            file(MAGIC[0], &[2, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7]),
        );
        put("train-labels-idx1-ubyte", file(MAGIC[1], &[2], &[3, 1]));
        put(
            "t10k-images-idx3-ubyte",
            file(MAGIC[0], &[1, 2, 2], &[9, 9, 8, 8]),
        );
        put("t10k-labels-idx1-ubyte", file(MAGIC[1], &[1], &[4]));
        folder
    }

    #[test]
    fn images_and_labels_are_those_of_the_files() {
        let images = load(folder().path()).expect("the files fit each other");
        let expected = |pixels: &[u8], label| Image {
            pixels: pixels.to_vec(),
            label,
        };
        assert_eq!(
            images.train,
            [expected(&[0, 1, 2, 3], 3), expected(&[4, 5, 6, 7], 1)]
        );
        assert_eq!(images.valid, [expected(&[9, 9, 8, 8], 4)]);
        assert_eq!((images.shape.size, images.shape.classes), (2, 5));
        // Of the numbers 0 to 7: the mean is 3.5, and the variance 5.25.
        let mut values = Vec::new();
        images.normalization.append(&[0, 7, 0, 0], &mut values);
        let first = -3.5 / 5.25_f32.sqrt();
        assert!(
            (values[0] - first).abs() < 1e-6 && (values[1] + first).abs() < 1e-6,
            "{values:?}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let spoilt = [
            (
                "train-images-idx3-ubyte",
                file(MAGIC[1], &[2, 2, 2], &[0; 8]),
                "is no file of images",
            ),
            (
                "train-images-idx3-ubyte",
                file(MAGIC[0], &[2, 2, 2], &[0; 7]),
                "has 23 bytes, and its header says 24",
            ),
            (
                "train-images-idx3-ubyte",
                file(MAGIC[0], &[u32::MAX; 3], &[0; 7]),
                "its header says",
            ),
            (
                "train-images-idx3-ubyte",
                file(MAGIC[0], &[2, 1, 4], &[0; 8]),
                "2 images of 1x4 pixels",
            ),
            (
                "train-labels-idx1-ubyte",
                file(MAGIC[1], &[3], &[0; 3]),
                "it has 3 labels, and 2 are expected",
            ),
            (
                "t10k-images-idx3-ubyte",
                file(MAGIC[0], &[1, 1, 1], &[0]),
                "images of 1x1 pixels",
            ),
            ("t10k-labels-idx1-ubyte", Vec::new(), "is no file of labels"),
        ];
        for (name, bytes, answer) in spoilt {
            let folder = folder();
            fs::write(folder.path().join(name), bytes).expect("it can be written");
            let error = load(folder.path()).expect_err(answer).to_string();
            assert!(error.contains(name) && error.contains(answer), "{error}");
        }
        let folder = folder();
        fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).expect("it is there");
        let error = load(folder.path())
            .expect_err("a file is missing")
            .to_string();
        assert!(
            error.contains("t10k-labels-idx1-ubyte, unpacked"),
            "{error}"
        );
    }
}
