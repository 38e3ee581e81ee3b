use burn::data::dataloader::batcher::Batcher;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::{CenterCrop, Normalization};
use crate::image_batch::ImageBatch;
use crate::image_files::ImageFile;
use crate::learner::BatchError;

/// Makes batches to validate with out of files: the middle of each image.
#[derive(Clone, Debug)]
pub struct ValidationBatcher {
    /// The crop.
    pub crop: CenterCrop,
    /// What makes numbers of pixels.
    pub normalization: Normalization,
}

impl<B: Backend> Batcher<B, ImageFile, Result<ImageBatch<B>, BatchError>> for ValidationBatcher {
    fn batch(
        &self,
        files: Vec<ImageFile>,
        device: &B::Device,
    ) -> Result<ImageBatch<B>, BatchError> {
        let images = files
            .iter()
            .map(|file| Ok(self.crop.apply(&file.decode()?)));
        let images: Result<Vec<_>, BatchError> = images.collect();
        let labels: Vec<i64> = files.iter().map(|file| file.label as i64).collect();
        Ok(ImageBatch {
            images: self.normalization.batch(&images?, device),
            targets: Tensor::from_data(TensorData::new(labels, [files.len()]), device),
        })
    }
}
