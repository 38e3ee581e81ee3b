//! The data sets.

use std::error::Error;
use std::path::Path;

use clap::ValueEnum;
use mac_burn_examples::images::{ImageShape, Images, digits, mnist};
use mac_burn_vision::Augmentation;
use mac_burn_vision::cifar::{self, CifarKind};
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

    /// The shape of its images.
    pub(crate) fn shape(self) -> ImageShape {
        match self {
            Self::Cifar10 => CifarKind::Cifar10.shape(),
            Self::Cifar100 => CifarKind::Cifar100.shape(),
            Self::Mnist => mnist::SHAPE,
            Self::Digits => digits::SHAPE,
        }
    }

    /// Loads the images, CIFAR's from a folder if one is given.
    ///
    /// # Errors
    /// If they cannot be downloaded or read.
    pub(crate) fn load(self, folder: Option<&Path>) -> Result<Images, Box<dyn Error>> {
        let kind = match self {
            Self::Mnist => return Ok(mnist::load()?),
            Self::Digits => return Ok(digits::load()),
            Self::Cifar10 => CifarKind::Cifar10,
            Self::Cifar100 => CifarKind::Cifar100,
        };
        let [train, valid] = match folder {
            Some(folder) => cifar::read(kind, folder)?,
            None => cifar::download(kind)?,
        };
        Ok(Images {
            train,
            valid,
            shape: kind.shape(),
            normalization: kind.normalization(),
        })
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
