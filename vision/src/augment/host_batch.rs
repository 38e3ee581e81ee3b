use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use image::RgbImage;

use super::Normalization;
use super::normalization::CHANNELS;

/// The numbers of images of one size that become a batch, one image after the other, where they can still be changed.
///
/// There is one copy of them, with room for all from the beginning: batches of large images are most of what a thread that
/// makes them holds.
#[derive(Clone, Debug)]
pub struct HostBatch {
    size: [usize; 2],
    values: Vec<f32>,
}

impl HostBatch {
    /// Of no image yet, with room for as many of this width and height.
    pub fn new(size: [usize; 2], images: usize) -> Self {
        Self {
            size,
            values: Vec::with_capacity(images * CHANNELS * size[0] * size[1]),
        }
    }

    /// Adds an image and returns its numbers, `[3, height, width]`.
    ///
    /// # Panics
    /// If the image is of another size.
    pub fn push(&mut self, image: &RgbImage, normalization: &Normalization) -> &mut [f32] {
        assert_eq!(
            [image.width() as usize, image.height() as usize],
            self.size,
            "images of a batch have the same size"
        );
        let before = self.values.len();
        normalization.append(image, &mut self.values);
        &mut self.values[before..]
    }

    /// The batch, `[batch_size, 3, height, width]`.
    pub fn into_tensor<B: Backend>(self, device: &B::Device) -> Tensor<B, 4> {
        let [width, height] = self.size;
        let images = self.values.len() / (CHANNELS * width * height);
        let shape = [images, CHANNELS, height, width];
        Tensor::from_data(TensorData::new(self.values, shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use mac_burn_examples::backend::Selected;

    fn normalization() -> Normalization {
        Normalization {
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    /// Breaks when width and height are exchanged, the images come in another order, or what is handed out are the numbers of
    /// another image.
    #[test]
    fn images_come_in_their_order_and_the_last_can_be_changed() {
        let mut images = HostBatch::new([3, 2], 2);
        images.push(&RgbImage::new(3, 2), &normalization());
        let white = RgbImage::from_pixel(3, 2, Rgb([255; 3]));
        let values = images.push(&white, &normalization());
        assert_eq!(values, [1.0; 18]);
        values[1] = 5.0;

        let batch = images.into_tensor::<Selected>(&Default::default());
        assert_eq!(batch.dims(), [2, 3, 2, 3]);
        let values: Vec<f32> = batch.into_data().iter().collect();
        let mut expected = [[0.0; 18], [1.0; 18]].concat();
        expected[19] = 5.0;
        assert_eq!(values, expected);
    }

    #[test]
    #[should_panic(expected = "images of a batch have the same size")]
    fn an_image_of_another_size_is_refused() {
        HostBatch::new([3, 2], 1).push(&RgbImage::new(2, 3), &normalization());
    }
}
