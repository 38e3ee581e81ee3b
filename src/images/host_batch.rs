use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::ImageBatch;

/// The numbers of images of one size that become a batch, one image after the other, where they can still be changed.
///
/// There is one copy of them, with room for all from the beginning: batches of large images are most of what a thread that
/// makes them holds.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// Channels, height and width.
    shape: [usize; 3],
    values: Vec<f32>,
    labels: Vec<i64>,
}

impl HostBatch {
    /// Of no image yet, with room for as many of this number of channels, height and width.
    pub fn new(shape: [usize; 3], images: usize) -> Self {
        Self {
            shape,
            values: Vec::with_capacity(images * shape.iter().product::<usize>()),
            labels: Vec::with_capacity(images),
        }
    }

    /// Adds an image of a class whose numbers `append` appends to those of the others, and returns them.
    ///
    /// # Panics
    /// If the image is of another size.
    pub fn push(&mut self, label: usize, append: impl FnOnce(&mut Vec<f32>)) -> &mut [f32] {
        let before = self.values.len();
        append(&mut self.values);
        self.labels.push(label as i64);
        let image = &mut self.values[before..];
        assert_eq!(
            image.len(),
            self.shape.iter().product::<usize>(),
            "images of a batch have the same size"
        );
        image
    }

    /// Height and width of the images.
    pub fn size(&self) -> [usize; 2] {
        [self.shape[1], self.shape[2]]
    }

    /// The batch on a device.
    pub fn into_batch<B: Backend>(self, device: &B::Device) -> ImageBatch<B> {
        let (images, [channels, height, width]) = (self.labels.len(), self.shape);
        let values = TensorData::new(self.values, [images, channels, height, width]);
        let labels = TensorData::new(self.labels, [images]);
        ImageBatch {
            images: Tensor::from_data(values, device),
            targets: Tensor::from_data(labels, device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;

    /// Breaks when the images come in another order, or what is handed out are the numbers of another image.
    #[test]
    fn images_come_in_their_order_and_the_last_can_be_changed() {
        let mut images = HostBatch::new([1, 2, 3], 2);
        images.push(4, |values| values.extend([0.0; 6]));
        let values = images.push(7, |values| values.extend([1.0; 6]));
        assert_eq!(values, [1.0; 6]);
        values[1] = 5.0;

        let batch = images.into_batch::<Selected>(&Default::default());
        assert_eq!(batch.images.dims(), [2, 1, 2, 3]);
        let values: Vec<f32> = batch.images.into_data().iter().collect();
        assert_eq!(
            values,
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0]
        );
        let labels: Vec<i64> = batch.targets.into_data().iter().collect();
        assert_eq!(labels, [4, 7]);
    }

    #[test]
    #[should_panic(expected = "images of a batch have the same size")]
    fn an_image_of_another_size_is_refused() {
        HostBatch::new([1, 2, 3], 1).push(0, |values| values.push(0.0));
    }
}
