use std::error::Error;

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::InputCovariance;

/// The network of a task without gradients.
pub type Inner<T, B> = <<T as Task<B>>::Model as AutodiffModule<B>>::InnerModule;

/// Something to learn.
pub trait Task<B: AutodiffBackend> {
    /// The network that learns.
    type Model: AutodiffModule<B> + 'static;

    /// The mean loss of the batch of a step, in nats, `[1]`. The same step has the same batch in every run.
    ///
    /// # Errors
    /// If the batch cannot be read.
    fn loss(&self, model: &Self::Model, step: usize) -> Result<Tensor<B, 1>, Box<dyn Error>>;

    /// The performance of a network on what is not trained on.
    ///
    /// # Errors
    /// If that cannot be read.
    fn validate(&self, model: &Inner<Self, B>) -> Result<Validation, Box<dyn Error>>;

    /// The curvature of the first layer, where its input is data; measured before training.
    ///
    /// # Errors
    /// If the data cannot be read.
    fn input_covariance(
        &self,
        _model: &Self::Model,
    ) -> Result<Option<InputCovariance<B>>, Box<dyn Error>> {
        Ok(None)
    }
}

/// The performance of a network on what is not trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The mean loss.
    pub loss: f64,
    /// The share that is classified correctly, in percent; none where there are no classes.
    pub accuracy: Option<f64>,
}
