//! CIFAR-10 and CIFAR-100: 50 000 training and 10 000 test images of 32×32 pixels.
//!
//! A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. They come by [burn-dataset's
//! download](download), or from files of the [binary version](read).

mod binary;
mod cifar_error;
mod download;
mod kind;

pub use binary::read;
pub use cifar_error::CifarError;
pub use download::download;
pub use kind::CifarKind;

/// Height and width of an image.
pub const SIZE: usize = 32;

/// Red, green and blue.
pub const CHANNELS: usize = 3;
