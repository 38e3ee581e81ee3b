//! The data sets.

use clap::ValueEnum;
use mac_burn_examples::{digits, mnist};
use mac_burn_vision::cifar::{self, CifarKind};
use mac_burn_vision::small_images::{Augmentation, ImageShape};
use serde::Serialize;

/// A data set, as named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum DatasetChoice {
    /// CIFAR-10: downloaded when it is first used, or from --data-dir
    Cifar10,
    /// CIFAR-100: the same
    Cifar100,
    /// MNIST, 28×28 pixels of gray: downloaded when it is first used
    Mnist,
    /// 1797 digits of 8×8 pixels of gray: compiled in
    Digits,
}

impl DatasetChoice {
    /// The kind of CIFAR, if it is one.
    pub(crate) fn cifar(self) -> Option<CifarKind> {
        match self {
            Self::Cifar10 => Some(CifarKind::Cifar10),
            Self::Cifar100 => Some(CifarKind::Cifar100),
            Self::Mnist | Self::Digits => None,
        }
    }

    /// The form of its images.
    pub(crate) fn shape(self) -> ImageShape {
        let (size, channels, classes) = match self {
            Self::Cifar10 => (cifar::SIZE, cifar::CHANNELS, CifarKind::Cifar10.classes()),
            Self::Cifar100 => (cifar::SIZE, cifar::CHANNELS, CifarKind::Cifar100.classes()),
            Self::Mnist => (mnist::SIZE, 1, mnist::CLASSES),
            Self::Digits => (digits::SIZE, 1, digits::CLASSES),
        };
        ImageShape {
            size,
            channels,
            classes,
        }
    }

    /// How its images are changed in training: the authors' frame of 4 for 32 pixels, and as much of other sizes; no flips
    /// of digits, whose mirror images are no digits.
    pub(crate) fn augmentation(self) -> Augmentation {
        Augmentation {
            padding: self.shape().size / 8,
            flip: self.cifar().is_some(),
        }
    }
}
