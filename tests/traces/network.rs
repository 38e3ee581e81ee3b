//! What a case's architecture must offer to be replayed.

use burn::{
    module::AutodiffModule,
    tensor::{Tensor, backend::AutodiffBackend},
};
use mac_burn::InputCovariance;

use crate::{case::Case, error::TraceError, signal::Signal};

/// A network that a case describes.
///
/// A further architecture is a type that implements this, and an arm of
/// [`replay`](crate::replay::replay).
pub(crate) trait Network<B: AutodiffBackend>: AutodiffModule<B> {
    /// Builds the case's network; the parameters' values come later, from the trace.
    fn build(case: &Case, device: &B::Device) -> Result<Self, TraceError>;

    /// Logits for a batch.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, ..]`
    /// - output: `[batch, classes]`
    fn forward(&self, input: Signal<B>) -> Tensor<B, 2>;

    /// The name that PyTorch's network gives to the parameter or buffer at a path of this one.
    fn pytorch_name(&self, path: &[String]) -> String;

    /// The covariance of a layer's input over batches that are that layer's input.
    fn input_covariance(
        &self,
        layer: &str,
        batches: Vec<Signal<B>>,
    ) -> Result<InputCovariance<B>, TraceError>;
}
