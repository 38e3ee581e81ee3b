use burn::data::dataloader::batcher::Batcher;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::{CenterCrop, HostBatch, Normalization};
use crate::learner::{BatchError, Repeated};
use mac_burn_examples::image_batch::ImageBatch;
use mac_burn_examples::image_files::ImageFile;

/// Makes batches to validate with out of files: the middle of each image.
#[derive(Clone, Debug)]
pub struct ValidationBatcher {
    /// The crop.
    pub crop: CenterCrop,
    /// The normalization of pixels.
    pub normalization: Normalization,
}

impl<B: Backend> Batcher<B, Repeated<ImageFile>, Result<ImageBatch<B>, BatchError>>
    for ValidationBatcher
{
    fn batch(
        &self,
        files: Vec<Repeated<ImageFile>>,
        device: &B::Device,
    ) -> Result<ImageBatch<B>, BatchError> {
        let mut images = HostBatch::new([self.crop.size; 2], files.len());
        for file in &files {
            let image = self.crop.apply(&file.item.decode()?);
            images.push(&image, &self.normalization);
        }
        let labels: Vec<i64> = files.iter().map(|file| file.item.label as i64).collect();
        Ok(ImageBatch {
            images: images.into_tensor(device),
            targets: Tensor::from_data(TensorData::new(labels, [files.len()]), device),
        })
    }
}
