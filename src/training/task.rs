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
    fn loss(&self, model: &Self::Model, step: usize) -> Tensor<B, 1>;

    /// The mean loss of what is not trained on, in nats.
    fn validation_loss(&self, model: &Inner<Self, B>) -> f64;

    /// The curvature of the first layer, where its input is data; measured before training.
    fn input_covariance(&self, _model: &Self::Model) -> Option<InputCovariance<B>> {
        None
    }
}
