//! The tasks of the programs.

mod characters;
mod choice;
mod classification;
mod image_classes;
mod reconstruction;
mod text_model;

pub use characters::Characters;
pub use choice::{DataArgs, Part, Rules, StartingRates, TaskChoice, WithTask};
pub use classification::{Classified, correct};
pub use image_classes::ImageClasses;
pub use reconstruction::Reconstruction;
pub use text_model::{HAMLET, ShortText, TextModel};

/// Images that the covariance of the first layer is measured over, at most.
const COVARIANCE_IMAGES: usize = 8192;
