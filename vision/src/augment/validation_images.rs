use mac_burn_examples::images::files::{FolderError, ImageFile};
use mac_burn_examples::images::{HostBatch, Normalization};

use super::CenterCrop;

/// Makes batches to validate with out of files: the middle of each image.
#[derive(Clone, Debug)]
pub struct ValidationImages {
    /// The crop.
    pub crop: CenterCrop,
    /// The normalization of pixels.
    pub normalization: Normalization,
}

impl ValidationImages {
    /// A batch of these images.
    ///
    /// # Errors
    /// If a file is no image.
    pub fn batch(&self, files: &[ImageFile]) -> Result<HostBatch, FolderError> {
        let size = self.crop.size;
        let mut images = HostBatch::new([self.normalization.channels(), size, size], files.len());
        for file in files {
            let image = self.crop.apply(&file.decode()?);
            images.push(file.label, |values| {
                self.normalization
                    .append_interleaved(image.as_raw(), values)
            });
        }
        Ok(images)
    }
}
