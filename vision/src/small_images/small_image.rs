/// An image in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct SmallImage {
    /// The values of each channel in turn, row by row: `[channels, size, size]`.
    pub pixels: Vec<u8>,
    /// Its class.
    pub label: usize,
    /// Index of the image in its set, on which its random changes depend.
    pub index: usize,
}

/// The shape that all images of a set have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Height and width.
    pub size: usize,
    /// The number of channels.
    pub channels: usize,
    /// The number of classes.
    pub classes: usize,
}
