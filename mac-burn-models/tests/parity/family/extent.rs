//! Sizes that a callable takes as one number or as two.

use serde::Deserialize;

/// A height and a width.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Extent {
    /// The same for both.
    Square(usize),
    Rectangle([usize; 2]),
}

impl Extent {
    /// Height and width.
    pub(super) fn pair(self) -> [usize; 2] {
        match self {
            Self::Square(size) => [size; 2],
            Self::Rectangle(size) => size,
        }
    }
}
