//! A training of either network, and all numbers of one.

use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Int, Tensor, TensorData};
use mac_burn::{Mac, Report};

/// The images of a batch, and their channels.
const BATCH_SIZE: usize = 3;
const IMAGE_CHANNELS: usize = 3;

/// A network, with its optimizer.
pub(crate) struct Training<B: AutodiffBackend, M: AutodiffModule<B>> {
    pub(crate) model: M,
    pub(crate) optimizer: Mac<M, B>,
    pub(crate) forward: fn(&M, Tensor<B, 4>) -> Tensor<B, 2>,
    /// Height and width of the images.
    pub(crate) image: [usize; 2],
}

impl<B: AutodiffBackend, M: AutodiffModule<B>> Training<B, M> {
    /// Takes a step on its batch, and returns the loss before it.
    pub(crate) fn step(mut self, step: usize) -> (Self, f32) {
        let device = Default::default();
        let logits = (self.forward)(&self.model, self.images(step));
        let targets = Tensor::<B, 1, Int>::arange(0..BATCH_SIZE as i64, &device);
        let loss = CrossEntropyLossConfig::new()
            .init(&device)
            .forward(logits, targets);
        let value = loss.clone().into_scalar().elem();
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self.optimizer.step(0.05, self.model, gradients);
        (self, value)
    }

    pub(crate) fn report(&self) -> Report {
        self.optimizer.report(&self.model)
    }

    /// The images of a step: two batches take turns.
    fn images(&self, step: usize) -> Tensor<B, 4> {
        let [height, width] = self.image;
        let shape = [BATCH_SIZE, IMAGE_CHANNELS, height, width];
        let pixel = |index: usize| ((index * 7919 + step % 2 * 523) % 1009) as f32 / 504.0 - 1.0;
        let pixels = (0..shape.iter().product()).map(pixel).collect();
        Tensor::from_data(TensorData::new(pixels, shape), &Default::default())
    }
}

/// All numbers of a network, parameters and running statistics, in the order of its fields.
///
/// Of its form for validation, since making that is what applies the last update of a running statistic.
pub(crate) fn numbers<B: AutodiffBackend, M: AutodiffModule<B>>(model: &M) -> Vec<TensorData> {
    let mut reader = Reader(Vec::new());
    model.valid().visit(&mut reader);
    reader.0
}

/// A network with these numbers, in the order of its fields.
///
/// # Panics
/// If it has fewer tensors, more of them, or one of another shape.
pub(crate) fn with_numbers<B: Backend, M: Module<B>>(model: M, numbers: Vec<TensorData>) -> M {
    let mut writer = Writer(numbers.into_iter());
    let model = model.map(&mut writer);
    assert_eq!(writer.0.len(), 0, "tensors that the network does not have");
    model
}

struct Reader(Vec<TensorData>);

impl<B: Backend> ModuleVisitor<B> for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.push(param.val().into_data());
    }
}

struct Writer(std::vec::IntoIter<TensorData>);

impl<B: Backend> ModuleMapper<B> for Writer {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let numbers = self.0.next().expect("the network has no more tensors");
        assert_eq!(numbers.shape, tensor.shape());
        let written = Tensor::from_data(numbers, &tensor.device());
        let written = written.set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, written, mapper)
    }
}
