//! Batches that differ from epoch to epoch.

/// A batcher of which each epoch may have its own, as where images are changed at random.
pub trait EpochBatcher: Clone {
    /// The batcher of the training images of an epoch with this seed. All that is random in what it does is decided by
    /// the seed, by the image and by which of its repeats it is, or a resumed run would not see the images of an uninterrupted
    /// one.
    ///
    /// By default that of every epoch and of the validation images: this one.
    fn of_epoch(&self, _seed: u64) -> Self {
        self.clone()
    }
}

impl EpochBatcher for mac_burn_examples::digits::DigitsBatcher {}

impl EpochBatcher for mac_burn_examples::mnist::MnistBatcher {}
