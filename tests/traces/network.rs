//! What a case's architecture must offer to be replayed.

use burn::{
    module::AutodiffModule,
    tensor::{Tensor, backend::AutodiffBackend},
};
use mac_burn::InputCovariance;

use crate::{case::Case, error::TraceError, names::NamedValues, signal::Signal};

/// A network that a case describes.
///
/// A further architecture is a type that implements this, and a variant of
/// [`ArchitectureKind`](crate::case::ArchitectureKind).
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

    /// The covariance of the input of a layer that the network's input goes into, with no batch seen.
    fn input_covariance(&self, layer: &str) -> Result<InputCovariance<B>, TraceError>;

    /// The probability that each key gets in a layer of attention, averaged over batch, heads and
    /// queries, by the name of the projection; nothing is recorded.
    fn averaged_attention(&self, _input: Signal<B::InnerBackend>) -> NamedValues {
        NamedValues::new()
    }
}
