//! A small network with recorded layers and its training steps, for the tests of this crate.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test is a crate of its own that uses a part of it"
)]

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig, LinearConfig, PaddingConfig2d, Relu};
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder, Recorder};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Shape, Tensor, TensorData};
use burn_flex::Flex;
use mac_burn::{InputCovariance, Mac, MacConfig, MacConv2d, MacLinear};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub type B = Autodiff<Flex>;

/// Convolution, norm and two linear layers, one without a bias.
#[derive(Module, Debug)]
pub struct Network<B: Backend> {
    pub conv: MacConv2d<B>,
    pub norm: BatchNorm<B>,
    pub hidden: MacLinear<B>,
    pub output: MacLinear<B>,
}

/// Values that are the same for the same seed, which those of a backend's generator are not: tests in
/// other threads draw from it too. Their mean is away from zero, so that it preconditions.
pub fn random<B: Backend, const D: usize>(shape: [usize; D], seed: u64) -> Tensor<B, D> {
    let mut generator = StdRng::seed_from_u64(seed);
    values_from(&mut generator, shape.into(), &Default::default())
}

/// The module with random values in place of its own.
pub fn filled<B: Backend, M: Module<B>>(module: M, seed: u64) -> M {
    module.map(&mut Filler(StdRng::seed_from_u64(seed)))
}

struct Filler(StdRng);

impl<B: Backend> ModuleMapper<B> for Filler {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let values = values_from::<B, D>(&mut self.0, tensor.shape(), &tensor.device());
        // The variances of a norm are among the vectors; the rest keeps activations near 1.
        let values = if D == 1 { values.abs() } else { values * 0.3 };
        let values = values.set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, values, mapper)
    }
}

fn values_from<B: Backend, const D: usize>(
    generator: &mut StdRng,
    shape: Shape,
    device: &B::Device,
) -> Tensor<B, D> {
    let values: Vec<f64> = (0..shape.num_elements())
        .map(|_| generator.random_range(-1.0..1.5))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl<B: Backend> Network<B> {
    pub fn new(seed: u64) -> Self {
        filled(Self::init(&Default::default()), seed)
    }

    fn init(device: &B::Device) -> Self {
        let conv = Conv2dConfig::new([1, 3], [3, 3]).with_padding(PaddingConfig2d::Same);
        Self {
            conv: conv.init(device).into(),
            norm: BatchNormConfig::new(3).init(device),
            hidden: LinearConfig::new(48, 6)
                .with_bias(false)
                .init(device)
                .into(),
            output: LinearConfig::new(6, 2).init(device).into(),
        }
    }

    /// `[batch, 1, 4, 4]` to `[batch, 2]`.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let relu = Relu::new();
        let x = relu.forward(self.norm.forward(self.conv.forward(images)));
        let x = relu.forward(self.hidden.forward(x.flatten::<2>(1, 3)));
        self.output.forward(x)
    }
}

/// An optimizer with all that a step may have to do: schedules, decay with exemptions, the covariance of a first layer, and
/// the guard if asked for.
pub fn busy_optimizer<B: AutodiffBackend, M: AutodiffModule<B>>(
    first: &MacConv2d<B>,
    images: Tensor<B, 4>,
    guard: bool,
) -> Mac<M, B> {
    let mut covariance = InputCovariance::of(first);
    covariance.update(images);
    MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_weight_decay(1e-3)
        .with_no_decay_norms_and_biases(true)
        .with_guard_gradients(guard)
        .init()
        .with_input_covariance(&covariance)
        .expect("the covariance is regular")
}

/// The batch of step `index`, the same for every call.
pub fn images<B: Backend>(index: u64, batch: usize) -> Tensor<B, 4> {
    random([batch, 1, 4, 4], 1000 + index)
}

/// The gradients of a loss that tells the samples apart.
pub fn gradients<B: AutodiffBackend>(
    network: &Network<B>,
    images: Tensor<B, 4>,
) -> GradientsParams {
    let output = network.forward(images.clone());
    let target = images.flatten::<2>(1, 3).narrow(1, 3, 2);
    let loss = (output - target).square().mean();
    GradientsParams::from_grads(loss.backward(), network)
}

/// Takes the steps of these indices.
pub fn train<B: AutodiffBackend, O: Optimizer<Network<B>, B>>(
    mut network: Network<B>,
    optim: &mut O,
    steps: std::ops::Range<u64>,
) -> Network<B> {
    for index in steps {
        let grads = gradients(&network, images(index, 5));
        network = optim.step(0.05, network, grads);
    }
    network
}

/// The values of all parameters of a module and of its running statistics, in order.
pub fn values<B: Backend, M: Module<B>>(module: &M) -> Vec<Vec<f64>> {
    struct Values(Vec<Vec<f64>>);
    impl<B: Backend> ModuleVisitor<B> for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0.push(param.val().into_data().iter().collect());
        }
    }
    let mut values = Values(Vec::new());
    module.visit(&mut values);
    values.0
}

/// The largest difference of two lists of values of the same shapes.
pub fn difference(left: &[Vec<f64>], right: &[Vec<f64>]) -> f64 {
    assert_eq!(left.len(), right.len());
    let pairs = left.iter().flatten().zip(right.iter().flatten());
    pairs
        .map(|(left, right)| (left - right).abs())
        .fold(0.0, f64::max)
}

/// Saves both to disk and loads them into a new model and a new optimizer.
pub fn through_files<O: Optimizer<Network<B>, B>>(
    network: Network<B>,
    optim: O,
    new: O,
) -> (Network<B>, O) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let files = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    let (model, state) = (folder.path().join("model"), folder.path().join("optim"));
    Recorder::<B>::record(&files, network.into_record(), model.clone())
        .expect("the model is saved");
    Recorder::<B>::record(&files, optim.to_record(), state.clone())
        .expect("the optimizer is saved");
    let device = Default::default();
    let record = Recorder::<B>::load(&files, model, &device).expect("the model is loaded");
    let network = Network::<B>::new(99).load_record(record);
    let record = Recorder::<B>::load(&files, state, &device).expect("the optimizer is loaded");
    (network, new.load_record(record))
}
