//! A small network whose clones share nothing of Burn's, as norms do, and trainings of it that depend on their data only.

use super::support::{difference, filled, random, values};
use burn::module::{Module, ParamId, list_param_ids};
use burn::nn::LinearConfig;
use burn::nn::conv::Conv2dConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Record, Recorder};
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use mac_burn::{Mac, MacConfig, MacConv2d, MacLinear};
use std::ops::Range;

pub const LR: f64 = 0.05;

/// A convolution and two linear layers, one without a bias.
#[derive(Module, Debug)]
pub struct Small<B: Backend> {
    pub conv: MacConv2d<B>,
    pub hidden: MacLinear<B>,
    pub output: MacLinear<B>,
}

pub type Optim<B> = Mac<Small<B>, B>;

impl<B: Backend> Small<B> {
    /// The same values each time, on the default device.
    pub fn new() -> Self {
        let device = Default::default();
        let hidden = LinearConfig::new(8, 6).with_bias(false);
        let network = Self {
            conv: Conv2dConfig::new([1, 2], [2, 2]).init(&device).into(),
            hidden: hidden.init(&device).into(),
            output: LinearConfig::new(6, 2).init(&device).into(),
        };
        filled(network, 1)
    }

    /// `[batch, 1, 3, 3]` to `[batch, 2]`.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let hidden = relu(self.conv.forward(images)).flatten::<2>(1, 3);
        self.output.forward(relu(self.hidden.forward(hidden)))
    }

    /// A loss that tells the samples apart and adds up over parts of a batch.
    pub fn loss(&self, images: Tensor<B, 4>) -> Tensor<B, 1> {
        let target = images.clone().flatten::<2>(1, 3).narrow(1, 3, 2);
        (self.forward(images) - target)
            .square()
            .sum()
            .div_scalar(8.0)
    }

    pub fn device(&self) -> B::Device {
        self.output.weight.val().device()
    }
}

impl<B: AutodiffBackend> Small<B> {
    /// The gradients of a forward and a backward pass.
    pub fn gradients(&self, images: Tensor<B, 4>) -> GradientsParams {
        GradientsParams::from_grads(self.loss(images).backward(), self)
    }

    /// A network of the same values and parameter ids that shares no recorder, made without this crate's help.
    pub fn apart(&self) -> Self {
        let device = self.device();
        let apart = Self::new().load_record(self.clone().into_record());
        apart.fork(&device)
    }
}

/// The batch of a step, `[4, 1, 3, 3]`; `data` tells trainings apart.
pub fn batch<B: Backend>(data: u64, step: u64, device: &B::Device) -> Tensor<B, 4> {
    let values = random::<burn_flex::Flex, 4>([4, 1, 3, 3], 1000 * data + step);
    let values: Vec<f32> = values.into_data().iter().collect();
    Tensor::from_data(TensorData::new(values, [4, 1, 3, 3]), device)
}

/// Schedules that differ, so that steps with and without either fall together in all ways, and statistics that are seen.
pub fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(5)
        .with_tinv(4)
        .with_damping(0.3)
        .with_stat_decay(0.5)
}

pub fn optimizer<B: AutodiffBackend>() -> Optim<B> {
    config().init()
}

/// Takes the steps of these indices.
pub fn train<B: AutodiffBackend>(
    mut network: Small<B>,
    optim: &mut Optim<B>,
    data: u64,
    steps: Range<u64>,
) -> Small<B> {
    for index in steps {
        let grads = network.gradients(batch(data, index, &network.device()));
        network = optim.step(LR, network, grads);
    }
    network
}

/// The same for each step with a network of its own, so that no recorder is used twice.
pub fn train_apart<B: AutodiffBackend>(
    mut network: Small<B>,
    optim: &mut Optim<B>,
    data: u64,
    steps: Range<u64>,
) -> Small<B> {
    for index in steps {
        network = train(network.apart(), optim, data, index..index + 1);
    }
    network
}

/// The training of these data from the start, alone.
pub fn alone<B: AutodiffBackend>(data: u64, steps: u64) -> Small<B> {
    train_apart(Small::new(), &mut optimizer(), data, 0..steps)
}

/// Compares all values bit by bit.
#[track_caller]
pub fn assert_equal<B: Backend>(left: &Small<B>, right: &Small<B>, what: &str) {
    let (left, right) = (values(left), values(right));
    let largest = difference(&left, &right);
    assert!(left == right, "{what}: a parameter differs by {largest}");
}

/// The layers of two optimizers that share a network.
const OF_FIRST: [&str; 2] = ["conv", "hidden"];
const OF_SECOND: [&str; 1] = ["output"];

/// Their parameters.
pub fn groups<B: Backend>(network: &Small<B>) -> [Vec<ParamId>; 2] {
    let first = list_param_ids(&network.conv).into_iter();
    let first = first.chain(list_param_ids(&network.hidden));
    [first.collect(), list_param_ids(&network.output)]
}

/// Two optimizers with settings of their own; with `skip`, each skips the layers of the other.
pub fn two_optimizers<B: AutodiffBackend>(skip: bool) -> [Optim<B>; 2] {
    let skipped = |layers: &[&str]| match skip {
        true => layers.iter().map(|layer| layer.to_string()).collect(),
        false => Vec::new(),
    };
    let second = MacConfig::new().with_tcov(3).with_tinv(2).with_damping(0.5);
    [
        config().with_skip_layers(skipped(&OF_SECOND)).init(),
        second.with_skip_layers(skipped(&OF_FIRST)).init(),
    ]
}

/// A model and its optimizer at one step, as records and as clones.
pub struct Saved<B: AutodiffBackend> {
    records: [Vec<u8>; 2],
    clones: (Small<B>, Optim<B>),
}

impl<B: AutodiffBackend> Saved<B> {
    pub fn new(network: &Small<B>, optim: &Optim<B>) -> Self {
        Self {
            records: [
                to_bytes::<B, _>(network.clone().into_record()),
                to_bytes::<B, _>(optim.to_record()),
            ],
            clones: (network.clone(), optim.clone()),
        }
    }

    pub fn clones(&self) -> (Small<B>, Optim<B>) {
        self.clones.clone()
    }

    /// Loads the records into objects that are in use.
    pub fn load_into(&self, (network, optim): (Small<B>, Optim<B>)) -> (Small<B>, Optim<B>) {
        let device = network.device();
        let [model, state] = &self.records;
        (
            network.load_record(from_bytes::<B, _>(model, &device)),
            optim.load_record(from_bytes::<B, _>(state, &device)),
        )
    }
}

fn to_bytes<B: Backend, R: Record<B>>(record: R) -> Vec<u8> {
    let files = BinBytesRecorder::<FullPrecisionSettings>::new();
    Recorder::<B>::record(&files, record, ()).expect("the record is written")
}

fn from_bytes<B: Backend, R: Record<B>>(bytes: &[u8], device: &B::Device) -> R {
    let files = BinBytesRecorder::<FullPrecisionSettings>::new();
    Recorder::<B>::load(&files, bytes.to_vec(), device).expect("the record is read")
}
