use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use image::RgbImage;

/// Red, green and blue.
const CHANNELS: usize = 3;

/// Makes numbers of pixels: `(value / 255 − mean) / std` for each channel.
#[derive(Clone, Debug)]
pub struct Normalization {
    /// The mean of each channel, where 1 is full.
    pub mean: [f32; CHANNELS],
    /// The standard deviation of each channel, above 0.
    pub std: [f32; CHANNELS],
}

impl Normalization {
    /// With the means and deviations of ImageNet.
    pub fn imagenet() -> Self {
        Self {
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// A batch of images of the same size, `[batch_size, 3, height, width]`.
    ///
    /// # Panics
    /// If the images differ in size, or there is none.
    pub fn batch<B: Backend>(&self, images: &[RgbImage], device: &B::Device) -> Tensor<B, 4> {
        let (width, height) = images[0].dimensions();
        let pixels = (width * height) as usize;
        let mut values = Vec::with_capacity(images.len() * CHANNELS * pixels);
        for image in images {
            assert_eq!(
                image.dimensions(),
                (width, height),
                "images of a batch have the same size"
            );
            for channel in 0..CHANNELS {
                let (mean, std) = (self.mean[channel], self.std[channel]);
                let normalized = |value: &u8| (f32::from(*value) / 255.0 - mean) / std;
                let channel = image.as_raw().iter().skip(channel).step_by(CHANNELS);
                values.extend(channel.map(normalized));
            }
        }
        let shape = [images.len(), CHANNELS, height as usize, width as usize];
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;
    use image::Rgb;

    /// Breaks when channels come last, when rows and columns are exchanged, or a channel takes another's constants.
    #[test]
    fn channels_come_first_and_each_has_its_constants() {
        let mut image = RgbImage::from_pixel(3, 2, Rgb([0, 0, 0]));
        image.put_pixel(2, 0, Rgb([255, 255, 255]));
        let normalization = Normalization {
            mean: [0.5, 0.25, 0.0],
            std: [0.5, 0.25, 1.0],
        };
        let batch = normalization.batch::<Selected>(&[image], &Default::default());
        assert_eq!(batch.dims(), [1, 3, 2, 3]);
        let values: Vec<f32> = batch.into_data().iter().collect();
        let expected = [[-1.0, 1.0], [-1.0, 3.0], [0.0, 1.0]]
            .map(|[empty, full]| [empty, empty, full, empty, empty, empty]);
        assert_eq!(values, expected.concat());
    }
}
