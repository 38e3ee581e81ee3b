/// A normalization of pixels, which are bytes: `(x − mean) / deviation` for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    means: Vec<f32>,
    deviations: Vec<f32>,
}

impl Normalization {
    /// By the mean and the standard deviation of each channel, which is above 0.
    ///
    /// # Panics
    /// If these are not of the same number of channels.
    pub fn new(means: Vec<f32>, deviations: Vec<f32>) -> Self {
        assert_eq!(
            means.len(),
            deviations.len(),
            "each channel has a mean and a deviation"
        );
        Self { means, deviations }
    }

    /// By means and deviations of each channel that are shares of the largest byte.
    pub fn of_shares<const CHANNELS: usize>(
        means: [f32; CHANNELS],
        deviations: [f32; CHANNELS],
    ) -> Self {
        let of_bytes = |values: [f32; CHANNELS]| values.map(|value| 255.0 * value).to_vec();
        Self::new(of_bytes(means), of_bytes(deviations))
    }

    /// By the means and deviations of ImageNet.
    pub fn imagenet() -> Self {
        Self::of_shares([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.means.len()
    }

    /// Appends the numbers of an image, `[channels, height, width]`, whose bytes are in the same order.
    pub fn append(&self, pixels: &[u8], values: &mut Vec<f32>) {
        let channels = pixels.chunks(pixels.len() / self.channels());
        for (channel, pixels) in channels.enumerate() {
            self.append_channel(channel, pixels.iter(), values);
        }
    }

    /// Appends the numbers of an image, `[channels, height, width]`, whose bytes are in the order `[height, width, channels]`.
    pub fn append_interleaved(&self, pixels: &[u8], values: &mut Vec<f32>) {
        for channel in 0..self.channels() {
            let pixels = pixels.iter().skip(channel).step_by(self.channels());
            self.append_channel(channel, pixels, values);
        }
    }

    fn append_channel<'a>(
        &self,
        channel: usize,
        pixels: impl Iterator<Item = &'a u8>,
        values: &mut Vec<f32>,
    ) {
        let (mean, deviation) = (self.means[channel], self.deviations[channel]);
        values.extend(pixels.map(|pixel| (f32::from(*pixel) - mean) / deviation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when a channel takes another's constants, when the division is before the subtraction, or what was there is lost.
    #[test]
    fn each_channel_has_its_own_mean_and_deviation() {
        let normalization = Normalization::new(vec![10.0, 20.0], vec![2.0, 5.0]);
        let mut values = vec![7.0];
        normalization.append(&[10, 14, 0, 35], &mut values);
        assert_eq!(values, [7.0, 0.0, 2.0, -4.0, 3.0]);
    }

    /// Breaks when channels come last, or when columns come before rows: a picture of two rows and three columns, with one white
    /// pixel.
    #[test]
    fn the_channels_of_an_interleaved_image_come_first() {
        let mut pixels = [0; 18];
        pixels[6..9].fill(255);
        let normalization = Normalization::of_shares([0.5, 0.25, 0.0], [0.5, 0.25, 1.0]);
        let mut values = Vec::new();
        normalization.append_interleaved(&pixels, &mut values);
        let expected = [[-1.0, 1.0], [-1.0, 3.0], [0.0, 1.0]]
            .map(|[empty, full]| [empty, empty, full, empty, empty, empty]);
        assert_eq!(values, expected.concat());
    }
}
