use burn::config::Config;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::{avg_pool2d, max_pool2d};

/// The pooling of a [`LeNet`](super::LeNet): the value of each 2×2 of a map, after a convolution and its activation.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum LeNetPooling {
    /// The largest.
    Max,
    /// The mean.
    Average,
}

impl LeNetPooling {
    /// By what height and width are divided.
    pub(super) const SIZE: usize = 2;

    /// Pools a map. Of an odd height or width, the last row or column is dropped.
    ///
    /// # Shapes
    /// - map: `[batch_size, channels, height, width]`
    /// - output: `[batch_size, channels, height / 2, width / 2]`
    pub fn forward<B: Backend>(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let size = [Self::SIZE; 2];
        match self {
            Self::Max => max_pool2d(map, size, size, [0, 0], [1, 1], false),
            Self::Average => avg_pool2d(map, size, size, [0, 0], true, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;

    /// Breaks when the two are exchanged, or the last column is pooled with padding.
    #[test]
    fn each_pooling_is_its_function_of_four() {
        let map = [[[[1.0, 2.0, 5.0], [3.0, 6.0, 7.0]]]];
        let pooled = |pooling: LeNetPooling| {
            let map = Tensor::<TestBackend, 4>::from_data(map, &Default::default());
            pooling
                .forward(map)
                .into_data()
                .iter::<f32>()
                .collect::<Vec<_>>()
        };

        assert_eq!(pooled(LeNetPooling::Max), [6.0]);
        assert_eq!(pooled(LeNetPooling::Average), [3.0]);
    }
}
