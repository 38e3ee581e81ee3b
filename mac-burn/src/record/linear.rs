use super::layer::LayerParameters;
use super::recorded::sealed::Parameters;
use super::{Recorded, RecordedLayer};
use burn::nn::Linear;
use burn::tensor::{Tensor, backend::Backend};

/// Burn's [`Linear`], recorded: its mean activation is the mean of its input over every leading
/// dimension (MAC, section on fully connected layers).
pub type MacLinear<B> = Recorded<Linear<B>, B>;

impl<B: Backend> RecordedLayer<B> for Linear<B> {
    fn parameters(&self) -> Vec<Parameters> {
        vec![Parameters(LayerParameters::linear(self))]
    }
}

impl<B: Backend> Recorded<Linear<B>, B> {
    /// Records the input and applies the layer, see [`Linear::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[.., size_input]`
    /// - output: `[.., size_output]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        self.recorders()[0].record_linear(&self.weight, self.bias.as_ref(), &input);
        (**self).forward(input)
    }
}
