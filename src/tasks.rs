//! The tasks of the transformer examples.

mod characters;
mod image_classes;
mod text_model;

pub use characters::Characters;
pub use image_classes::ImageClasses;
pub use text_model::{HAMLET, ShortText, TextModel};
