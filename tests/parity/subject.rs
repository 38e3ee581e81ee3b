//! A network under test, whatever its family.

use burn::{
    module::{AutodiffModule, Module},
    nn::loss::CrossEntropyLossConfig,
    tensor::{
        Int, Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};
use mac_burn_models::pytorch::Name;

use crate::{
    batch::{Batch, Signal},
    error::ParityError,
    fill::Alteration,
    fixture::Fixture,
    passes::{Filler, Slopes, Statistics, Survey},
    running::Running,
    wave::Wave,
};

/// The interface of a network of a family, on every backend.
pub(crate) trait Network<B: Backend>: Module<B> {
    /// A row of logits for each sample, or for each token of each sample.
    ///
    /// # Shapes
    ///
    /// - output: `[rows, classes]`
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError>;

    /// How many rows the norm of this name in PyTorch sees where images have `size`, and columns likewise. For networks with
    /// norms over the batch.
    fn size_at_norm(&self, _norm: &str, size: usize) -> usize {
        size
    }
}

/// A network of any family.
pub(crate) trait Subject<B: AutodiffBackend> {
    /// The tensors, with PyTorch's names and shapes; nothing is initialized for it.
    fn tensors(&self) -> Vec<Described>;

    /// Takes the values of a fixture in place of its own, with a change of some of them.
    fn fill(
        &mut self,
        fixture: &Fixture,
        alteration: Option<Alteration>,
    ) -> Result<(), ParityError>;

    /// A forward pass in evaluation mode.
    fn evaluate(&self, batch: &Batch, device: &B::Device) -> Result<Output, ParityError>;

    /// A forward and a backward pass in training mode.
    fn train(&self, batch: &Batch, device: &B::Device) -> Result<Step, ParityError>;
}

/// A tensor of a network as PyTorch describes it.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

/// The results of a forward pass.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) logits: Vec<f64>,
    pub(crate) loss: f64,
}

/// The results of a training step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) output: Output,
    pub(crate) slopes: Vec<Slope>,
    /// The running statistics of the norms afterwards, as PyTorch has them.
    pub(crate) running: Vec<Running>,
}

/// The numbers that are compared of a parameter's gradient, in PyTorch's layout.
#[derive(Debug)]
pub(crate) struct Slope {
    pub(crate) name: String,
    pub(crate) l2: f64,
    pub(crate) dot_with_wave: f64,
    pub(crate) first4: Vec<f64>,
}

/// A network, and the names that PyTorch gives to its parameters.
pub(crate) struct Named<M> {
    model: M,
    name: Name,
}

impl<M> Named<M> {
    /// `name` gives PyTorch's name to the parameter at a path.
    pub(crate) fn new(model: M, name: Name) -> Self {
        Self { model, name }
    }
}

impl Described {
    /// Whether it is a running statistic and not trained; Burn has them among its float tensors.
    pub(crate) fn is_buffer(&self) -> bool {
        is_buffer(&self.name)
    }

    pub(crate) fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Whether a tensor of this name is a running statistic.
pub(crate) fn is_buffer(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

impl<B, M> Subject<B> for Named<M>
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + Network<B>,
    M::InnerModule: Network<B::InnerBackend>,
{
    fn tensors(&self) -> Vec<Described> {
        Survey::of(&self.model, self.name)
    }

    fn fill(
        &mut self,
        fixture: &Fixture,
        alteration: Option<Alteration>,
    ) -> Result<(), ParityError> {
        let mut filler = Filler::new(self.name, fixture, alteration);
        self.model = self.model.clone().map(&mut filler);

        filler.result()
    }

    fn evaluate(&self, batch: &Batch, device: &B::Device) -> Result<Output, ParityError> {
        let logits = self.model.valid().logits(batch.signal(device)?)?;
        let loss = mean_loss(logits.clone(), batch.targets(device));

        Ok(Output::read(logits, loss))
    }

    fn train(&self, batch: &Batch, device: &B::Device) -> Result<Step, ParityError> {
        let before = Statistics::of(&self.model.valid(), self.name);
        let logits = self.model.logits(batch.signal(device)?)?;
        let loss = mean_loss(logits.clone(), batch.targets(device));
        let slopes = Slopes::of(&self.model, self.name, loss.backward());
        // Burn brings running statistics up to date when the mode changes.
        let after = Statistics::of(&self.model.valid(), self.name);
        let running = after.into_iter().zip(&before).map(|(after, before)| {
            let left = |size| self.model.size_at_norm(&after.name, size);
            let samples = batch.values_per_channel(left);
            after.into_pytorch(before, samples)
        });

        Ok(Step {
            output: Output::read(logits, loss),
            slopes,
            running: running.collect(),
        })
    }
}

/// The mean cross entropy.
fn mean_loss<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let loss = CrossEntropyLossConfig::new().init(&logits.device());

    loss.forward(logits, targets)
}

impl Output {
    fn read<B: Backend>(logits: Tensor<B, 2>, loss: Tensor<B, 1>) -> Self {
        Self {
            logits: host(logits.into_data()),
            loss: host(loss.into_data())[0],
        }
    }
}

/// Values on the host, in double precision.
pub(crate) fn host(data: TensorData) -> Vec<f64> {
    let data = data.convert::<f64>().into_vec();

    data.expect("the values were converted")
}

impl Slope {
    /// Of the gradient of the parameter of this name.
    pub(crate) fn of(name: String, values: &[f64]) -> Self {
        let wave = Wave::of(&name);
        let (mut squares, mut dot_with_wave) = (0.0, 0.0);
        for (index, value) in values.iter().enumerate() {
            squares += value * value;
            dot_with_wave += value * wave.at(index);
        }

        Self {
            name,
            l2: squares.sqrt(),
            dot_with_wave,
            first4: values.iter().take(4).copied().collect(),
        }
    }
}
