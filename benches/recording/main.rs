//! The cost of recording in a training pass: forward and backward of a network that is written with
//! Burn's own layers, and of the recorded one: without its recorders (`unrecorded`), with recorders
//! that record every pass, and with recorders that the optimizer's schedule pauses; of Burn's own
//! layers on the backend that records, `Recording<Autodiff<B>>`, every pass and paused; and the host's
//! memory that a pass allocates at most.
//!
//! ```text
//! cargo bench --bench recording -- --case lenet --rounds 50
//! cargo bench --bench recording --features ndarray -- --backend ndarray
//! ```
//!
//! The bars on flex, of a pass that is recorded: at most 1.03 times Burn's own layers, 1.05 times for
//! the ResNet-20, the vision transformer and pairs of `Conv1d`, `Conv3d` and `Lstm`, and 1.05 times where the backend
//! records. A network without its recorders should cost what Burn's own layers do; it stands for them in the ResNet-20.
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
use mac_burn::{Mac, MacConfig, unrecorded};
use mac_burn_models::{
    LeNet, LeNetConfig, Mlp, MlpConfig, ResNet, ResNetConfig, VisionTransformer,
    VisionTransformerConfig,
};
use mac_burn_recording::Recording;
use plain::{PlainLeNet, PlainMlp};
use plain_vit::PlainVit;
use std::process::ExitCode;

const BATCH: usize = 128;
/// Enough to see that everything runs.
const QUICK_BATCH: usize = 2;
const CLASSES: usize = 10;

const PLAIN: &str = "Burn's layers";
const UNRECORDED: &str = "unrecorded";
const RECORDING: &str = "recording every pass";
const PAUSED: &str = "recorders paused";
const BACKEND_RECORDING: &str = "recording backend, every pass";
const BACKEND_PAUSED: &str = "recording backend, paused";

/// The period of an optimizer that takes statistics in each step.
const EVERY: usize = 1;
/// A period that no run reaches.
const NEVER: usize = 1_000_000_000;
/// Of a recording pass to a plain one.
const BAR: f64 = 1.03;
/// The same for the ResNet-20, the vision transformer and two layers of a kind, and for all networks on the recording backend.
const BAR_WIDE: f64 = 1.05;
/// Samples in a batch of these.
const BATCH_SMALL: usize = 32;
/// Its blocks.
const LAYERS_VIT: usize = 4;

fn main() -> ExitCode {
    on_backends::<CostOfRecording>()
}

struct CostOfRecording;

impl OnBackend for CostOfRecording {
    fn title(options: &Options) -> String {
        let [size, small] = [BATCH, BATCH_SMALL].map(|size| batch_size(options, size));
        format!(
            "Forward and backward, batch of {size}, {small} for the ResNet-20, the vision transformer and two layers of a kind"
        )
    }

    fn run<B: Backend>(backend: &str, options: &Options) {
        let device = Default::default();
        let [size, small] = [BATCH, BATCH_SMALL].map(|size| batch_size(options, size));
        let case =
            |name, bars: &[(&str, f64)], contenders: &dyn Fn() -> Vec<Contender<'static>>| {
                let bars = if backend == "flex" { bars } else { &[] };
                case(name, options, bars, contenders);
            };
        let of_backend = (BACKEND_RECORDING, BAR_WIDE);
        case(
            "mlp 784-512-512-10",
            &[(RECORDING, BAR), of_backend],
            &|| mlp::<B>(size, &device),
        );
        case("lenet 1x28x28", &[(RECORDING, BAR), of_backend], &|| {
            lenet::<B>(size, &device)
        });
        let wide = (RECORDING, BAR_WIDE);
        case("resnet20 3x32x32", &[wide, of_backend], &|| {
            resnet20::<B>(small, &device)
        });
        case(
            "vit 192, 3 heads, 65 tokens, 4 blocks",
            &[wide, of_backend],
            &|| vit::<B>(small, &device),
        );
        case("conv1d 32-64-64, kernel 5, length 256", &[wide], &|| {
            conv1d::<Autodiff<B>>(small, &device)
        });
        case("conv3d 4-16-16, kernel 3, 12 x 12 x 12", &[wide], &|| {
            conv3d::<Autodiff<B>>(small, &device)
        });
        case("lstm 64-128-128, 32 steps", &[wide], &|| {
            lstm::<Autodiff<B>>(small, &device)
        });
    }
}

fn batch_size(options: &Options, size: usize) -> usize {
    if options.quick() { QUICK_BATCH } else { size }
}

/// Measures the contenders of a case. The `bars` are what some may cost of what Burn's own layers do.
fn case<'a>(
    name: &str,
    options: &Options,
    bars: &[(&str, f64)],
    contenders: impl FnOnce() -> Vec<Contender<'a>>,
) {
    if !options.wants_case(name) {
        return;
    }
    let comparison = Comparison::new(&["layers", "peak MiB"], contenders(), &[PLAIN]).run(options);
    println!("{name}\n\n{comparison}\n");
    if options.quick() {
        return;
    }
    for (contender, bar) in bars {
        let ratio = comparison.ratio(contender, PLAIN);
        println!("{contender}: {} x {PLAIN}\n", ratio.against(*bar));
    }
}

fn mlp<'a, B: Backend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let shape = [size, 784];
    let config = MlpConfig::new(vec![784, 512, 512, CLASSES]);
    let plain = PlainMlp::from(config.init(device));
    let mut contenders = contenders(
        &Batch::<Autodiff<B>, 2>::random(shape, device),
        || config.init(device),
        Mlp::forward,
        move |input| plain.forward(input),
    );
    contenders.extend(contenders_of_backend::<B, _, 2>(
        shape,
        || PlainMlp::from(config.init(device)),
        PlainMlp::forward,
        device,
    ));
    contenders
}

fn lenet<'a, B: Backend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let shape = [size, 1, 28, 28];
    let config = LeNetConfig::new([28, 28]);
    let plain = PlainLeNet::from(config.init(device));
    let mut contenders = contenders(
        &Batch::<Autodiff<B>, 4>::random(shape, device),
        || config.init(device),
        LeNet::forward,
        move |input| plain.forward(input),
    );
    contenders.extend(contenders_of_backend::<B, _, 4>(
        shape,
        || PlainLeNet::from(config.init(device)),
        PlainLeNet::forward,
        device,
    ));
    contenders
}

/// Plain is what has no recorders.
fn resnet20<'a, B: Backend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let shape = [size, 3, 32, 32];
    let config = ResNetConfig::resnet20(CLASSES);
    let plain: ResNet<Autodiff<B>> = unrecorded(config.init(device));
    let mut contenders = contenders(
        &Batch::<Autodiff<B>, 4>::random(shape, device),
        || config.init(device),
        ResNet::forward,
        move |input| plain.forward(input),
    );
    contenders.extend(contenders_of_backend::<B, _, 4>(
        shape,
        || unrecorded(config.init(device)),
        ResNet::forward,
        device,
    ));
    contenders
}

fn vit<'a, B: Backend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let shape = [size, 3, 32, 32];
    let config = VisionTransformerConfig::deit_tiny_cifar(CLASSES).with_n_layers(LAYERS_VIT);
    let plain = PlainVit::from(config.init(device));
    let mut contenders = contenders(
        &Batch::<Autodiff<B>, 4>::random(shape, device),
        || config.init(device),
        VisionTransformer::forward,
        move |input| plain.forward(input),
    );
    contenders.extend(contenders_of_backend::<B, _, 4>(
        shape,
        || PlainVit::from(config.init(device)),
        PlainVit::forward,
        device,
    ));
    contenders
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
    forward: Forward<B, M, D>,
    plain: impl Fn(Tensor<B, D>) -> Tensor<B, 2> + 'a,
) -> Vec<Contender<'a>> {
    let unrecorded = unrecorded(make());
    let recording = Scheduled::new(make(), EVERY, batch, forward);
    let paused = Scheduled::new(make(), NEVER, batch, forward);
    vec![
        contender(PLAIN, batch, plain),
        contender(UNRECORDED, batch, move |input| forward(&unrecorded, input)),
        contender(RECORDING, batch, move |input| recording.forward(input)),
        contender(PAUSED, batch, move |input| paused.forward(input)),
    ]
}

/// A network of plain layers on the backend that records: recording, and paused.
fn contenders_of_backend<'a, B: Backend, M, const D: usize>(
    shape: [usize; D],
    make: impl Fn() -> M,
    forward: Forward<Recording<Autodiff<B>>, M, D>,
    device: &B::Device,
) -> Vec<Contender<'a>>
where
    M: AutodiffModule<Recording<Autodiff<B>>> + 'a,
{
    let batch = Batch::random(shape, device);
    let recording = Scheduled::new(make(), EVERY, &batch, forward);
    let paused = Scheduled::new(make(), NEVER, &batch, forward);
    vec![
        contender(BACKEND_RECORDING, &batch, move |input| {
            recording.forward(input)
        }),
        contender(BACKEND_PAUSED, &batch, move |input| paused.forward(input)),
    ]
}

/// The forward pass of a network.
type Forward<B, M, const D: usize> = fn(&M, Tensor<B, D>) -> Tensor<B, 2>;

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

/// A network after two steps of MAC, which tells what is recorded whether it is due as long as it is there.
struct Scheduled<B: AutodiffBackend, M: AutodiffModule<B>, const D: usize> {
    network: M,
    forward: Forward<B, M, D>,
    _mac: Mac<M, B>,
}

impl<B: AutodiffBackend, M: AutodiffModule<B>, const D: usize> Scheduled<B, M, D> {
    /// # Panics
    ///
    /// If the second step had no statistics where it was due, or had some where it was not.
    fn new(mut network: M, tcov: usize, batch: &Batch<B, D>, forward: Forward<B, M, D>) -> Self {
        let mut mac = MacConfig::new().with_tcov(tcov).init();
        for _ in 0..2 {
            let gradients = batch.pass(|input| forward(&network, input));
            let gradients = GradientsParams::from_grads(gradients, &network);
            network = mac.step(0.0, network, gradients);
        }
        let report = mac.report(&network);
        let updates = report.layers.iter().map(|layer| layer.updates);
        let updates = updates.filter(|updates| *updates > 0);
        let expected = if tcov == EVERY { 2 } else { 1 };
        let [least, most] = [updates.clone().min(), updates.max()];
        assert_eq!([least, most], [Some(expected); 2], "{report}");
        Self {
            network,
            forward,
            _mac: mac,
        }
    }

    fn forward(&self, input: Tensor<B, D>) -> Tensor<B, 2> {
        (self.forward)(&self.network, input)
    }
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
