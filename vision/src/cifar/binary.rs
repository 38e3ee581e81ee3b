use std::fs;
use std::path::{Path, PathBuf};

use super::{CHANNELS, CifarError, CifarKind, SIZE};
use mac_burn_examples::images::Image;

const PIXELS: usize = CHANNELS * SIZE * SIZE;

/// Reads the binary version from the files of a folder: the images to train on, and those to test with.
///
/// Of CIFAR-10 these are `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, of CIFAR-100 `train.bin` and
/// `test.bin`. An image is a byte for its class, in CIFAR-100 a byte for its coarse and one for its fine class, and
/// 1024 bytes for each of red, green and blue, row by row. A file has any number of images.
///
/// # Errors
/// If a file is missing or empty, ends within an image, or has a class that there is not.
pub fn read(kind: CifarKind, folder: &Path) -> Result<[Vec<Image>; 2], CifarError> {
    let [train, test] = kind.files();
    let side = |files: &[&str]| -> Result<Vec<Image>, CifarError> {
        let mut images = Vec::new();
        for file in files {
            read_file(kind, &folder.join(file), &mut images)?;
        }
        Ok(images)
    };
    Ok([side(train)?, side(test)?])
}

fn read_file(kind: CifarKind, file: &Path, images: &mut Vec<Image>) -> Result<(), CifarError> {
    let bytes = fs::read(file).map_err(|error| CifarError::File {
        file: file.to_path_buf(),
        error,
        expected: kind.files().concat().join(", "),
    })?;
    let record = kind.labels() + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(CifarError::Length {
            file: file.to_path_buf(),
            bytes: bytes.len(),
            record,
        });
    }
    for (image, bytes) in bytes.chunks_exact(record).enumerate() {
        let (labels, pixels) = bytes.split_at(kind.labels());
        let label = labels[labels.len() - 1];
        if usize::from(label) >= kind.classes() {
            return Err(wrong_label(kind, file.to_path_buf(), image, label));
        }
        images.push(Image {
            pixels: pixels.to_vec(),
            label: label.into(),
        });
    }
    Ok(())
}

fn wrong_label(kind: CifarKind, file: PathBuf, image: usize, label: u8) -> CifarError {
    CifarError::Label {
        file,
        image,
        label,
        classes: kind.classes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a file of each name, of an image for each of these labels.
    fn folder(kind: CifarKind, labels: &[&[u8]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for name in kind.files().concat() {
            let images = labels.iter().enumerate().flat_map(|(index, labels)| {
                let pixels = [10, 20, 30].map(|value| [value + index as u8; SIZE * SIZE]);
                [labels.to_vec(), pixels.concat()].concat()
            });
            fs::write(folder.path().join(name), images.collect::<Vec<u8>>())
                .expect("it can be written");
        }
        folder
    }

    fn said(kind: CifarKind, folder: &Path) -> String {
        let error = read(kind, folder).expect_err("the folder is wrong");
        error.to_string()
    }

    #[test]
    fn images_of_all_files_follow_each_other() {
        let folder = folder(CifarKind::Cifar10, &[&[3], &[9]]);

        let [train, test] = read(CifarKind::Cifar10, folder.path()).expect("the folder is right");

        assert_eq!((train.len(), test.len()), (10, 2));
        let labels: Vec<_> = train.iter().map(|image| image.label).collect();
        assert_eq!(labels, [3, 9].repeat(5));
        assert_eq!(test[1].pixels[0], 11);
        assert_eq!(test[1].pixels[SIZE * SIZE], 21);
        assert_eq!(test[1].pixels[PIXELS - 1], 31);
    }

    /// With the coarse class, or pixels that begin a byte early, this fails.
    #[test]
    fn of_two_classes_the_fine_one_is_taken() {
        let folder = folder(CifarKind::Cifar100, &[&[7, 99]]);

        let [train, _] = read(CifarKind::Cifar100, folder.path()).expect("the folder is right");

        assert_eq!(train.len(), 1);
        assert_eq!((train[0].label, train[0].pixels[0]), (99, 10));
        assert_eq!(train[0].pixels.len(), PIXELS);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let folder = folder(CifarKind::Cifar10, &[&[3], &[10]]);
        let message = said(CifarKind::Cifar10, folder.path());
        assert!(
            message.contains("data_batch_1.bin: image 1 has the class 10; classes 0 to 9"),
            "{message}"
        );

        let file = folder.path().join("data_batch_1.bin");
        fs::write(&file, [0; 3072]).expect("it can be written");
        let message = said(CifarKind::Cifar10, folder.path());
        assert!(
            message.contains("data_batch_1.bin has 3072 bytes; images of 3073 bytes"),
            "{message}"
        );

        fs::write(&file, []).expect("it can be written");
        assert!(said(CifarKind::Cifar10, folder.path()).contains("has 0 bytes"));

        fs::remove_file(&file).expect("it is there");
        let message = said(CifarKind::Cifar10, folder.path());
        assert!(
            message.contains("data_batch_5.bin, test_batch.bin"),
            "{message}"
        );

        let message = said(CifarKind::Cifar100, folder.path());
        assert!(message.contains("train.bin, test.bin"), "{message}");
    }
}
