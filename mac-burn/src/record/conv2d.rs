use super::layer::LayerParameters;
use super::recorded::sealed::Parameters;
use super::statistics::Conv2dGeometry;
use super::{Recorded, RecordedLayer};
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};

/// Burn's [`Conv2d`], recorded: its mean activation is the mean patch that its kernel sees, over
/// batch and output positions, zero padding counted (MAC, section on convolutions). With groups,
/// each group has a mean of its own.
pub type MacConv2d<B> = Recorded<Conv2d<B>, B>;

impl<B: Backend> RecordedLayer<B> for Conv2d<B> {
    fn parameters(&self) -> Vec<Parameters> {
        vec![Parameters(LayerParameters::conv2d(self))]
    }
}

impl<B: Backend> From<&Conv2d<B>> for Conv2dGeometry {
    fn from(layer: &Conv2d<B>) -> Self {
        Self {
            kernel_size: layer.kernel_size,
            stride: layer.stride,
            padding: layer.padding.clone(),
            dilation: layer.dilation,
            groups: layer.groups,
        }
    }
}

impl<B: Backend> Recorded<Conv2d<B>, B> {
    /// Records the input and applies the layer, see [`Conv2d::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, height_out, width_out]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.recorders()[0].record_conv2d(self, &input);
        (**self).forward(input)
    }
}
