use mac_burn_examples::images::{ImageShape, Normalization};

use super::{CHANNELS, SIZE};

/// One of the two sets of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CifarKind {
    /// Of 10 classes.
    Cifar10,
    /// Of 100 classes.
    Cifar100,
}

impl CifarKind {
    /// The number of classes: of CIFAR-100 the fine ones.
    pub fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// The shape of its images.
    pub fn shape(self) -> ImageShape {
        ImageShape {
            size: SIZE,
            channels: CHANNELS,
            classes: self.classes(),
        }
    }

    /// The means and standard deviations of red, green and blue that the authors' code normalizes by.
    pub fn normalization(self) -> Normalization {
        let (means, deviations) = match self {
            Self::Cifar10 => ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
            Self::Cifar100 => ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
        };
        Normalization::of_shares(means, deviations)
    }

    /// The files of the binary version: those to train on and those to test with.
    pub(super) fn files(self) -> [&'static [&'static str]; 2] {
        match self {
            Self::Cifar10 => [
                &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                &["test_batch.bin"],
            ],
            Self::Cifar100 => [&["train.bin"], &["test.bin"]],
        }
    }

    /// The bytes before the pixels of an image, of which the last is its class: CIFAR-100 has the coarse class before
    /// the fine one.
    pub(super) fn labels(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }
}
