use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{DenseLayer, DenseNetConfig};

/// Layers of one height and width, each of which sees the outputs of all before it.
///
/// Part of a [`DenseNet`](super::DenseNet).
#[derive(Module, Debug)]
pub struct DenseBlock<B: Backend> {
    /// The layers, from the input to the output.
    pub layers: Vec<DenseLayer<B>>,
}

impl<B: Backend> DenseBlock<B> {
    /// As many layers, the first of which sees these channels.
    pub(super) fn new(
        config: &DenseNetConfig,
        channels: usize,
        layers: usize,
        device: &B::Device,
    ) -> Self {
        let layer = |index| DenseLayer::new(config, channels + index * config.growth, device);
        Self {
            layers: (0..layers).map(layer).collect(),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels, height, width]`
    /// - output: `[batch_size, channels + layers · growth, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.layers.iter().fold(input, |x, layer| layer.forward(x))
    }
}
