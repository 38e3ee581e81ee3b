//! What recording adds to a training pass: forward and backward of a network with recorders that
//! record every pass, with recorders that the optimizer's schedule pauses, and of Burn's own layers.
//!
//! ```text
//! cargo bench --bench recording -- --case lenet --rounds 50
//! cargo bench --bench recording --features ndarray -- --backend ndarray
//! ```
//!
//! The bar on flex: at most 1.03 times Burn's own layers.
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod plain;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Int, Tensor};
use harness::{Comparison, Contender, OnBackend, Options, on_backends, timed};
use mac_burn::MacConfig;
use mac_burn_models::{LeNet, LeNetConfig, Mlp, MlpConfig};
use plain::{PlainLeNet, PlainMlp};

const BATCH: usize = 128;
/// Enough to see that everything runs.
const QUICK_BATCH: usize = 2;
const CLASSES: usize = 10;

const PLAIN: &str = "Burn's layers";
const RECORDING: &str = "recording every pass";
const PAUSED: &str = "recorders paused";

/// A period that no run reaches.
const NEVER: usize = 1_000_000_000;
/// Of a recording pass to a plain one.
const BAR: f64 = 1.03;

fn main() {
    on_backends::<Recording>();
}

struct Recording;

impl OnBackend for Recording {
    fn title(options: &Options) -> String {
        format!("Forward and backward, batch of {}", batch_size(options))
    }

    fn run<B: Backend>(backend: &str, options: &Options) {
        let device = Default::default();
        let size = batch_size(options);
        let bar = (backend == "flex").then_some(BAR);
        case("mlp 784-512-512-10", options, bar, || {
            mlp::<Autodiff<B>>(size, &device)
        });
        case("lenet 1x28x28", options, bar, || {
            lenet::<Autodiff<B>>(size, &device)
        });
    }
}

fn batch_size(options: &Options) -> usize {
    if options.quick() { QUICK_BATCH } else { BATCH }
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
    let comparison = Comparison::new(&["layers"], contenders(), &[PLAIN]).run(options);
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
    let recording = scheduled(make(), 1, &batch, Mlp::forward);
    let paused = scheduled(make(), NEVER, &batch, Mlp::forward);
    vec![
        contender(PLAIN, &batch, move |input| plain.forward(input)),
        contender(RECORDING, &batch, move |input| recording.forward(input)),
        contender(PAUSED, &batch, move |input| paused.forward(input)),
    ]
}

fn lenet<'a, B: AutodiffBackend>(size: usize, device: &B::Device) -> Vec<Contender<'a>> {
    let batch = Batch::<B, 4>::random([size, 1, 28, 28], device);
    let make = || LeNetConfig::new([28, 28]).init(device);
    let plain = PlainLeNet::from(make());
    let recording = scheduled(make(), 1, &batch, LeNet::forward);
    let paused = scheduled(make(), NEVER, &batch, LeNet::forward);
    vec![
        contender(PLAIN, &batch, move |input| plain.forward(input)),
        contender(RECORDING, &batch, move |input| recording.forward(input)),
        contender(PAUSED, &batch, move |input| paused.forward(input)),
    ]
}

/// What a pass is made with.
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
    forward: impl Fn(&M, Tensor<B, D>) -> Tensor<B, 2>,
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
    Contender {
        cells: vec![name.into()],
        work: Box::new(move || timed::<B, _>(&device, || batch.pass(&forward)).0),
    }
}
