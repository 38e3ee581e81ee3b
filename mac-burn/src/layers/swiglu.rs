use super::recorded::sealed::{Function, LayerRecorders};
use super::{Recorded, RecordedLayer};
use crate::layer::Layer;
use crate::statistics::{Recorder, SharedInput};
use burn::nn::SwiGlu;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

/// Burn's [`SwiGlu`], recorded: both of its linear layers as [`MacLinear`](crate::MacLinear), by sums of their one input that are made once.
///
/// ```
/// use burn::nn::SwiGluConfig;
/// use burn::tensor::Tensor;
/// use mac_burn::MacSwiGlu;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let layer: MacSwiGlu<B> = SwiGluConfig::new(8, 4).init(&device).into();
/// let output = layer.forward(Tensor::<B, 3>::ones([2, 5, 8], &device));
/// assert_eq!(output.dims(), [2, 5, 4]);
/// ```
pub type MacSwiGlu<B> = Recorded<SwiGlu<B>, B>;

/// The recorders of a SwiGLU, under the names of its linear layers.
#[derive(Clone, Debug, Default)]
pub struct SwiGluRecorders<B: Backend> {
    linear_inner: Recorder<B>,
    linear_outer: Recorder<B>,
}

impl<B: Backend> RecordedLayer<B> for SwiGlu<B> {
    type Recorders = SwiGluRecorders<B>;
}

impl<B: Backend> LayerRecorders<SwiGlu<B>, B> for SwiGluRecorders<B> {
    fn new(_layer: &SwiGlu<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &SwiGlu<B>, function: &mut Function<'_, B>) -> Self {
        let (inner, outer) = (&layer.linear_inner, &layer.linear_outer);
        Self {
            linear_inner: function.call(&self.linear_inner, Layer::linear(inner)),
            linear_outer: function.call(&self.linear_outer, Layer::linear(outer)),
        }
    }
}

impl<B: Backend> Recorded<SwiGlu<B>, B> {
    /// Applies the layer and records its input, see [`SwiGlu::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[.., d_input]`
    /// - output: `[.., d_output]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let (inner, outer) = (&self.linear_inner, &self.linear_outer);
        let recorders = &self.recorders;
        let mut seen = SharedInput::new(input.clone());
        let x = inner.forward(input.clone());
        let x =
            recorders
                .linear_inner
                .record_shared(&inner.weight, inner.bias.as_ref(), &mut seen, x);
        let gate = silu(x);
        let x = outer.forward(input);
        let x =
            recorders
                .linear_outer
                .record_shared(&outer.weight, outer.bias.as_ref(), &mut seen, x);
        gate.mul(x)
    }
}
