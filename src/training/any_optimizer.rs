use std::error::Error;

use burn::module::AutodiffModule;
use burn::optim::Optimizer;
use burn::tensor::backend::AutodiffBackend;

/// A task for an optimizer whose type the command line decides.
pub trait WithOptimizer<B: AutodiffBackend, M: AutodiffModule<B>> {
    /// Trains, and returns the network and the optimizer.
    ///
    /// # Errors
    /// If the training ends early.
    fn run<O: Optimizer<M, B> + 'static>(self, optimizer: O) -> Result<(M, O), Box<dyn Error>>;
}
