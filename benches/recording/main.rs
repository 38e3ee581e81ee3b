//! The cost of recording in a training pass: forward and backward of a network that is written with
//! Burn's own layers, and of the recorded one: without its recorders (`unrecorded`), with recorders
//! that record every pass, and with recorders that the optimizer's schedule pauses; and the memory
//! that a pass allocates at most.
//!
//! ```text
//! cargo bench --bench recording -- --case lenet --rounds 50
//! cargo bench --bench recording --features ndarray -- --backend ndarray
//! ```
//!
//! The bars on flex, of a pass that is recorded: at most 1.03 times Burn's own layers, 1.05 times for
//! the vision transformer and for pairs of `Conv1d`, `Conv3d` and `Lstm`. A network without its recorders should cost what Burn's own layers do.
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod layers;
#[path = "../harness/memory.rs"]
mod memory;
mod plain;
mod plain_vit;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Int, Tensor};
use harness::{Comparison, Contender, OnBackend, Options, on_backends, timed};
use mac_burn::{MacConfig, unrecorded};
use mac_burn_models::{
    LeNet, LeNetConfig, Mlp, MlpConfig, VisionTransformer, VisionTransformerConfig,
};
use plain::{PlainLeNet, PlainMlp};
use plain_vit::PlainVit;

const BATCH: usize = 128;
/// Enough to see that everything runs.
const QUICK_BATCH: usize = 2;
const CLASSES: usize = 10;

const PLAIN: &str = "Burn's layers";
const UNRECORDED: &str = "unrecorded";
const RECORDING: &str = "recording every pass";
const PAUSED: &str = "recorders paused";

/// A period that no run reaches.
const NEVER: usize = 1_000_000_000;
/// Of a recording pass to a plain one.
const BAR: f64 = 1.03;
/// The same for the vision transformer.
const BAR_VIT: f64 = 1.05;
/// The same for two layers of a kind.
const BAR_LAYERS: f64 = 1.05;
/// Samples in a batch of the vision transformer, and of two layers.
const BATCH_VIT: usize = 32;
/// Its blocks.
const LAYERS_VIT: usize = 4;

fn main() {
    on_backends::<Recording>();
}

struct Recording;

impl OnBackend for Recording {
    fn title(options: &Options) -> String {
        let [size, size_vit] = [BATCH, BATCH_VIT].map(|size| batch_size(options, size));
        format!(
            "Forward and backward, batch of {size}, {size_vit} for the vision transformer and for two layers of a kind"
        )
    }

    fn run<B: Backend>(backend: &str, options: &Options) {
        let device = Default::default();
        let [size, size_vit] = [BATCH, BATCH_VIT].map(|size| batch_size(options, size));
        let bar = |bar| (backend == "flex").then_some(bar);
        case("mlp 784-512-512-10", options, bar(BAR), || {
            mlp::<Autodiff<B>>(size, &device)
        });
        case("lenet 1x28x28", options, bar(BAR), || {
            lenet::<Autodiff<B>>(size, &device)
        });
        case(
            "vit 192, 3 heads, 65 tokens, 4 blocks",
            options,
            bar(BAR_VIT),
            || vit::<Autodiff<B>>(size_vit, &device),
        );
        case(
            "conv1d 32-64-64, kernel 5, length 256",
            options,
            bar(BAR_LAYERS),
            || conv1d::<Autodiff<B>>(size_vit, &device),
        );
        case(
            "conv3d 4-16-16, kernel 3, 12 x 12 x 12",
            options,
            bar(BAR_LAYERS),
            || conv3d::<Autodiff<B>>(size_vit, &device),
        );
        case(
            "lstm 64-128-128, 32 steps",
            options,
            bar(BAR_LAYERS),
            || lstm::<Autodiff<B>>(size_vit, &device),
        );
    }
}

fn batch_size(options: &Options, size: usize) -> usize {
    if options.quick() { QUICK_BATCH } else { size }
}

fn case<'a>(
    name: &str,
    options: &Options,
    bar: Option<f64>,
    contenders: impl FnOnce() -> Vec<Contender<'a>>,
) {
    if !options.wants_case(name) {
        return;
    }
    let comparison = Comparison::new(&["layers", "peak MiB"], contenders(), &[PLAIN]).run(options);
    println!("{name}\n\n{comparison}\n");
    if let Some(bar) = bar.filter(|_| !options.quick()) {
        println!(
            "recording: {} x {PLAIN}, bar {bar}\n",
            comparison.ratio(RECORDING, PLAIN)
        );
    }
}

fn mlp<'a, B: AutodiffBackend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let batch = Batch::<B, 2>::random([size, 784], device);
    let make = || MlpConfig::new(vec![784, 512, 512, CLASSES]).init(device);
    let plain = PlainMlp::from(make());
    contenders(&batch, make, Mlp::forward, move |input| {
        plain.forward(input)
    })
}

fn lenet<'a, B: AutodiffBackend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let batch = Batch::<B, 4>::random([size, 1, 28, 28], device);
    let make = || LeNetConfig::new([28, 28]).init(device);
    let plain = PlainLeNet::from(make());
    contenders(&batch, make, LeNet::forward, move |input| {
        plain.forward(input)
    })
}

fn vit<'a, B: AutodiffBackend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let batch = Batch::<B, 4>::random([size, 3, 32, 32], device);
    let make = || {
        VisionTransformerConfig::deit_tiny_cifar(CLASSES)
            .with_n_layers(LAYERS_VIT)
            .init(device)
    };
    let plain = PlainVit::from(make());
    contenders(&batch, make, VisionTransformer::forward, move |input| {
        plain.forward(input)
    })
}

fn conv1d<'a, B: AutodiffBackend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let batch = Batch::<B, 3>::random([size, 32, 256], device);
    let (first, second) = layers::conv1d::<B>(device);
    let plain = (first.into_inner(), second.into_inner());
    let make = || layers::conv1d(device);
    contenders(&batch, make, layers::conv1d_forward, move |input| {
        layers::plain_conv1d_forward(&plain, input)
    })
}

fn conv3d<'a, B: AutodiffBackend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let batch = Batch::<B, 5>::random([size, 4, 12, 12, 12], device);
    let (first, second) = layers::conv3d::<B>(device);
    let plain = (first.into_inner(), second.into_inner());
    let make = || layers::conv3d(device);
    contenders(&batch, make, layers::conv3d_forward, move |input| {
        layers::plain_conv3d_forward(&plain, input)
    })
}

fn lstm<'a, B: AutodiffBackend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let batch = Batch::<B, 3>::random([size, 32, 64], device);
    let (first, second) = layers::lstm::<B>(device);
    let plain = (first.into_inner(), second.into_inner());
    let make = || layers::lstm(device);
    contenders(&batch, make, layers::lstm_forward, move |input| {
        layers::plain_lstm_forward(&plain, input)
    })
}

/// A network of plain layers, and the recorded one: without its recorders, recording, and paused.
fn contenders<'a, B: AutodiffBackend, M: AutodiffModule<B> + 'a, const D: usize>(
    batch: &Batch<B, D>,
    make: impl Fn() -> M,
    forward: fn(&M, Tensor<B, D>) -> Tensor<B, 2>,
    plain: impl Fn(Tensor<B, D>) -> Tensor<B, 2> + 'a,
) -> Vec<Contender<'a>> {
    let unrecorded = unrecorded(make());
    let recording = scheduled(make(), 1, batch, forward);
    let paused = scheduled(make(), NEVER, batch, forward);
    vec![
        contender(PLAIN, batch, plain),
        contender(UNRECORDED, batch, move |input| forward(&unrecorded, input)),
        contender(RECORDING, batch, move |input| forward(&recording, input)),
        contender(PAUSED, batch, move |input| forward(&paused, input)),
    ]
}

/// The network and data of a pass.
#[derive(Clone)]
struct Batch<B: Backend, const D: usize> {
    inputs: Tensor<B, D>,
    targets: Tensor<B, 1, Int>,
}

impl<B: AutodiffBackend, const D: usize> Batch<B, D> {
    fn random(shape: [usize; D], device: &B::Device) -> Self {
        Self {
            inputs: Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device),
            targets: Tensor::arange(0..shape[0] as i64, device).remainder_scalar(CLASSES as i64),
        }
    }

    /// A forward and a backward pass.
    fn pass(&self, forward: impl Fn(Tensor<B, D>) -> Tensor<B, 2>) -> B::Gradients {
        let logits = forward(self.inputs.clone());
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, self.targets.clone()).backward()
    }
}

/// A network after one step of MAC, which tells its recorders whether they are to record.
fn scheduled<B: AutodiffBackend, M: AutodiffModule<B>, const D: usize>(
    network: M,
    tcov: usize,
    batch: &Batch<B, D>,
    forward: fn(&M, Tensor<B, D>) -> Tensor<B, 2>,
) -> M {
    let mut mac = MacConfig::new().with_tcov(tcov).init();
    let gradients = batch.pass(|input| forward(&network, input));
    let gradients = GradientsParams::from_grads(gradients, &network);
    mac.step(0.0, network, gradients)
}

fn contender<'a, B: AutodiffBackend, const D: usize>(
    name: &str,
    batch: &Batch<B, D>,
    forward: impl Fn(Tensor<B, D>) -> Tensor<B, 2> + 'a,
) -> Contender<'a> {
    let batch = batch.clone();
    let device = batch.inputs.device();
    // The second of two passes, with whatever the first leaves to the next.
    batch.pass(&forward);
    let before = memory::allocated();
    let peak = memory::peak(|| batch.pass(&forward)) - before;
    Contender {
        cells: vec![name.into(), memory::mebibytes(peak)],
        work: Box::new(move || timed::<B, _>(&device, || batch.pass(&forward)).0),
    }
}
