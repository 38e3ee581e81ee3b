//! Memory that stays allocated when models are trained, cloned, forked and dropped, beside that of plain [`Autodiff`].
//!
//! Each case repeats its work and compares the least that was left after a repetition of the second half with the least of the first: what is
//! added up, or looked through, from time to time makes more of it in between.

use burn::backend::{Autodiff, Flex};
use burn::module::{AutodiffModule, Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, Optimizer, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::module::linear;
use burn::tensor::{Distribution, Tensor};
use mac_burn::{KfacConfig, Mac, MacConfig};
use mac_burn_recording::Recording;
use peak_alloc::PeakAlloc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Plain `Autodiff`, which tells what Burn leaves by itself.
type Plain = Autodiff<Flex>;
type Recorded = Recording<Autodiff<Flex>>;

/// The bytes by which the second half of a case may exceed the first: a hundred for a repetition, where what is known of a single leaf is more.
/// Threads make up to half of it.
const BOUND: usize = 65536;
const WARM_UP: usize = 150;
const RATE: f64 = 0.01;
const BATCH: usize = 3;
const PIXELS: usize = 4;
const CHANNELS: usize = 2;
const FEATURES: usize = 8;
const HIDDEN: usize = 6;
const CLASSES: usize = 3;
const WORKERS: usize = 4;

/// Burn's layers, and a weight in PyTorch's layout, which each pass makes a transposed view of.
#[derive(Module, Debug)]
struct Network<B: Backend> {
    convolution: Conv2d<B>,
    hidden: Linear<B>,
    output: Param<Tensor<B, 2>>,
}

impl<B: Backend> Network<B> {
    fn new(device: &B::Device) -> Self {
        Self {
            convolution: Conv2dConfig::new([1, CHANNELS], [3, 3]).init(device),
            hidden: LinearConfig::new(FEATURES, HIDDEN).init(device),
            output: Initializer::Normal {
                mean: 0.0,
                std: 0.1,
            }
            .init([CLASSES, HIDDEN], device),
        }
    }

    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = relu(self.convolution.forward(images)).flatten(1, 3);
        let x = relu(self.hidden.forward(x));
        x.matmul(self.output.val().transpose())
    }
}

fn loss<B: Backend>(network: &Network<B>, device: &B::Device) -> Tensor<B, 1> {
    let images = Tensor::random([BATCH, 1, PIXELS, PIXELS], Distribution::Default, device);
    network.forward(images).square().mean()
}

fn pass<B: AutodiffBackend>(network: &Network<B>, device: &B::Device) -> GradientsParams {
    GradientsParams::from_grads(loss(network, device).backward(), network)
}

fn step<B: AutodiffBackend>(
    optimizer: &mut impl Optimizer<Network<B>, B>,
    network: Network<B>,
    device: &B::Device,
) -> Network<B> {
    let gradients = pass(&network, device);
    optimizer.step(RATE, network, gradients)
}

/// All that is allocated in the process counts, so cases take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats work, and fails if what it leaves grows.
fn assert_flat(name: &str, repetitions: usize, mut work: impl FnMut()) {
    let mut least_left = |repetitions: usize| {
        let left = (0..repetitions).map(|_| {
            work();
            MEMORY.current_usage()
        });
        left.min().unwrap_or_default()
    };
    least_left(WARM_UP);
    let [first, second] = [(); 2].map(|()| least_left(repetitions / 2));
    let grown = second.saturating_sub(first);
    eprintln!("{name}: {first} bytes, and {grown} more after {repetitions}");
    assert!(
        grown <= BOUND,
        "{name}: {grown} bytes more in the second half of {repetitions} repetitions than in the first"
    );
}

/// Trains one network, and returns it.
fn train<B: AutodiffBackend>(
    name: &str,
    steps: usize,
    optimizer: &mut impl Optimizer<Network<B>, B>,
) -> Network<B> {
    let device = Default::default();
    let mut network = Some(Network::<B>::new(&device));
    assert_flat(name, steps, || {
        network = network
            .take()
            .map(|network| step(optimizer, network, &device));
    });
    network.expect("each step puts it back")
}

/// Makes networks that are dropped after a pass of each copy, and a step if there is an optimizer for it.
fn make_and_drop<B: AutodiffBackend>(device: &B::Device, optimizer: Option<Mac<Network<B>, B>>) {
    let network = Network::<B>::new(device);
    let clone = network.clone();
    let fork = network.clone().fork(device);
    for copy in [&network, &clone, &fork] {
        pass(copy, device);
    }
    pass::<B>(&Network::from_inner(network.valid()), device);
    if let Some(mut optimizer) = optimizer {
        let network = step(&mut optimizer, network, device);
        step(&mut optimizer, network.fork(device), device);
    }
}

/// Breaks when a step leaves something of the tensors before it.
#[test]
fn ten_thousand_steps_of_mac() {
    let _turn = turn();
    let mut mac = MacConfig::new().with_tcov(3).init();
    let network = train::<Recorded>("MAC", 10_000, &mut mac);
    let layers = mac.report(&network).layers;
    let updates: Vec<_> = layers.iter().map(|layer| layer.updates).collect();
    let recorded = (WARM_UP + 10_000).div_ceil(3) as u64;
    assert_eq!(updates, [recorded; 3]);
    train::<Plain>("MAC, plain", 1_000, &mut MacConfig::new().init());
}

/// The same of matrices, and of sums over gradients.
#[test]
fn steps_of_kfac() {
    let _turn = turn();
    train::<Recorded>("K-FAC", 2_000, &mut KfacConfig::new().with_tinv(5).init());
}

/// Breaks when sums pile up that nobody takes.
#[test]
fn steps_of_an_optimizer_that_takes_no_sums() {
    let _turn = turn();
    train::<Plain>("SGD, plain", 1_000, &mut SgdConfig::new().init());
    train::<Recorded>("SGD", 4_000, &mut SgdConfig::new().init());
    let _mac: Mac<Network<Recorded>, Recorded> = MacConfig::new().init();
    train::<Recorded>("SGD beside MAC", 2_000, &mut SgdConfig::new().init());
}

/// Breaks when what a pass leaves is found only where leaves are made of others, or with the views of a pass.
#[test]
fn passes_without_steps() {
    let _turn = turn();
    let device = Default::default();
    let network = Network::<Recorded>::new(&device);
    assert_flat("passes", 2_000, || {
        pass(&network, &device);
    });
    assert_flat("passes of forks", 2_000, || {
        pass(&network.clone().fork(&device), &device);
    });
    let plain = Network::<Plain>::new(&device);
    assert_flat("passes, plain", 1_000, || {
        pass(&plain, &device);
    });
    // A linear layer that is made anew for each pass: no views and no links.
    assert_flat("layers that are made for a pass", 2_000, || {
        let layer = LinearConfig::new(FEATURES, HIDDEN).init::<Recorded>(&device);
        let input = Tensor::<_, 2>::ones([BATCH, FEATURES], &device);
        layer.forward(input).mean().backward();
    });
    // Sums that do not add up, and biases that are another tensor in each pass.
    let weight = LinearConfig::new(FEATURES, FEATURES)
        .init::<Recorded>(&device)
        .weight;
    assert_flat("a weight of two maps", 2_000, || {
        let input = Tensor::ones([BATCH, FEATURES], &device);
        let bias = Tensor::ones([FEATURES], &device);
        let hidden = linear(input, weight.val(), Some(bias));
        hidden.matmul(weight.val().transpose()).mean().backward();
    });
    // One backward pass for several forward passes.
    assert_flat("forward passes", 1_000, || {
        (0..3).for_each(|_| drop(loss(&network, &device)));
        pass(&network, &device);
    });
}

/// Breaks when something of a model outlives its tensors.
#[test]
fn a_thousand_models() {
    let _turn = turn();
    let device = Default::default();
    assert_flat("models, plain", 1_000, || {
        make_and_drop::<Plain>(&device, None);
    });
    assert_flat("models", 1_000, || {
        make_and_drop::<Recorded>(&device, None);
    });
    assert_flat("models that are trained", 1_000, || {
        make_and_drop::<Recorded>(&device, Some(MacConfig::new().init()));
    });
}

/// Breaks when what one thread leaves is not found by others.
#[test]
fn models_in_threads() {
    let _turn = turn();
    let device = Default::default();
    let mut optimizer: Mac<Network<Recorded>, Recorded> = MacConfig::new().init();
    let mut network = Some(Network::new(&device));
    assert_flat("models in threads", 250, || {
        let original = network.take().expect("each round puts it back");
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                let worker = original.clone();
                let device = &device;
                scope.spawn(move || {
                    pass(&worker.fork(device), device);
                    make_and_drop::<Recorded>(device, Some(MacConfig::new().init()));
                });
            }
        });
        network = Some(step(&mut optimizer, original, &device));
    });
}
