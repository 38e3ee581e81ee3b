//! The tasks of the transformer examples and of the benchmark that compares optimizers on them.

mod characters;
mod classification;
mod image_classes;
mod text_model;

pub use characters::Characters;
pub use classification::{Classified, correct};
pub use image_classes::ImageClasses;
pub use text_model::{HAMLET, ShortText, TextModel};
