/// Takes the mean of a channel from its values and divides by the standard deviation: `(x − mean) / deviation`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    means: Vec<f32>,
    deviations: Vec<f32>,
}

impl Normalization {
    /// By the mean and the standard deviation of each channel, for values that are bytes.
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

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.means.len()
    }

    /// Adds the normalized values of an image, `[channels, height, width]`, to those of others.
    pub fn extend(&self, values: &mut Vec<f32>, pixels: &[u8]) {
        let channels = pixels.chunks(pixels.len() / self.channels());
        for ((channel, mean), deviation) in channels.zip(&self.means).zip(&self.deviations) {
            let normalized = channel.iter().map(|x| (f32::from(*x) - mean) / deviation);
            values.extend(normalized);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Means or deviations of another channel, or a division before the subtraction, would show here.
    #[test]
    fn each_channel_has_its_own_mean_and_deviation() {
        let normalization = Normalization::new(vec![10.0, 20.0], vec![2.0, 5.0]);
        let mut values = vec![7.0];

        normalization.extend(&mut values, &[10, 14, 0, 35]);

        assert_eq!(values, [7.0, 0.0, 2.0, -4.0, 3.0]);
    }
}
