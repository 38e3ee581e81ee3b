//! The data set in batches.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::tensor::backend::Backend;
use mac_burn_examples::digits::{DigitsBatcher, DigitsDataset};
use mac_burn_examples::image_batch::ImageBatch;

use crate::args::Args;

/// Batches of one side of the data set.
pub(crate) type Loader<B> = Arc<dyn DataLoader<B, ImageBatch<B>>>;

/// The training set in a new order in each epoch. It is loaded in the thread that trains, so that the seed alone decides
/// the order.
pub(crate) fn shuffled<B: Backend>(args: &Args, device: &B::Device) -> Loader<B> {
    DataLoaderBuilder::new(DigitsBatcher)
        .batch_size(args.batch_size)
        .set_device(device.clone())
        .shuffle(args.seed)
        .build(DigitsDataset::train())
}

/// A side of the data set in the order of the file.
pub(crate) fn in_order<B: Backend>(
    dataset: DigitsDataset,
    args: &Args,
    device: &B::Device,
) -> Loader<B> {
    DataLoaderBuilder::new(DigitsBatcher)
        .batch_size(args.batch_size)
        .set_device(device.clone())
        .build(dataset)
}
