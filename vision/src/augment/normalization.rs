use image::RgbImage;

/// Red, green and blue.
pub(super) const CHANNELS: usize = 3;

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

    /// Appends the numbers of an image to `values`, `[3, height, width]`.
    pub fn append(&self, image: &RgbImage, values: &mut Vec<f32>) {
        for channel in 0..CHANNELS {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let normalized = |value: &u8| (f32::from(*value) / 255.0 - mean) / std;
            let channel = image.as_raw().iter().skip(channel).step_by(CHANNELS);
            values.extend(channel.map(normalized));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Breaks when channels come last, when columns come before rows, a channel takes another's constants, or what was there is
    /// lost.
    #[test]
    fn channels_come_first_and_each_has_its_constants() {
        let mut image = RgbImage::from_pixel(3, 2, Rgb([0, 0, 0]));
        image.put_pixel(2, 0, Rgb([255, 255, 255]));
        let normalization = Normalization {
            mean: [0.5, 0.25, 0.0],
            std: [0.5, 0.25, 1.0],
        };
        let mut values = vec![7.0];
        normalization.append(&image, &mut values);
        let expected = [[-1.0, 1.0], [-1.0, 3.0], [0.0, 1.0]]
            .map(|[empty, full]| [empty, empty, full, empty, empty, empty]);
        assert_eq!(values, [vec![7.0], expected.concat()].concat());
    }
}
