use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Int, Tensor};

/// A network and a batch for it.
pub(crate) struct Network<B: Backend, M> {
    pub(crate) name: &'static str,
    pub(crate) model: M,
    pub(crate) batch: Batch<B, M>,
}

/// The logits of a network for a batch, `[rows, classes]`.
type Logits<B, M> = Box<dyn Fn(&M) -> Tensor<B, 2>>;

/// A batch, and how a network takes it.
pub(crate) struct Batch<B: Backend, M> {
    pub(crate) device: B::Device,
    shape: Vec<usize>,
    logits: Logits<B, M>,
}

impl<B: AutodiffBackend, M: AutodiffModule<B> + 'static> Network<B, M> {
    /// A network for images; `shape` is `[batch_size, channels, height, width]`.
    pub(crate) fn of_images(
        name: &'static str,
        shape: [usize; 4],
        model: M,
        forward: fn(&M, Tensor<B, 4>) -> Tensor<B, 2>,
        device: &B::Device,
    ) -> Self {
        let images = Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device);
        let batch = Batch {
            device: device.clone(),
            shape: shape.into(),
            logits: Box::new(move |model| forward(model, images.clone())),
        };
        Self { name, model, batch }
    }

    /// A network for tokens, of which there are `vocabulary`; `shape` is `[batch_size, tokens]`.
    pub(crate) fn of_tokens(
        name: &'static str,
        shape: [usize; 2],
        vocabulary: usize,
        model: M,
        forward: fn(&M, Tensor<B, 2, Int>) -> Tensor<B, 3>,
        device: &B::Device,
    ) -> Self {
        let tokens = numbered(shape[0] * shape[1], vocabulary, device).reshape(shape);
        let batch = Batch {
            device: device.clone(),
            shape: shape.into(),
            logits: Box::new(move |model| forward(model, tokens.clone()).flatten(0, 1)),
        };
        Self { name, model, batch }
    }
}

impl<B: Backend, M> Network<B, M> {
    /// The same with another model.
    pub(crate) fn map(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            model: change(self.model),
            ..self
        }
    }
}

impl<B: AutodiffBackend, M: AutodiffModule<B>> Batch<B, M> {
    /// Its shape, as `8x3x32x32`.
    pub(crate) fn shape(&self) -> String {
        let sizes: Vec<_> = self.shape.iter().map(usize::to_string).collect();
        sizes.join("x")
    }

    /// The gradients of the mean cross entropy.
    pub(crate) fn gradients(&self, model: &M) -> GradientsParams {
        let logits = (self.logits)(model);
        let [rows, classes] = logits.dims();
        let targets = numbered(rows, classes, &self.device);
        let loss = CrossEntropyLossConfig::new().init(&self.device);
        GradientsParams::from_grads(loss.forward(logits, targets).backward(), model)
    }
}

/// The numbers from 0, beginning again at `count`.
fn numbered<B: Backend>(length: usize, count: usize, device: &B::Device) -> Tensor<B, 1, Int> {
    Tensor::arange(0..length as i64, device).remainder_scalar(count as i64)
}
