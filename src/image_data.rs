//! A data set with what makes batches of it.

/// A data set, and what makes batches of its items.
pub struct ImageData<D, Bt> {
    /// The images to train on.
    pub train: D,
    /// The images to validate on.
    pub valid: D,
    /// Makes batches of both.
    pub batcher: Bt,
}
