//! A comparison of the backends for the CPU: a training pass (forward and backward) and a step of MAC, on flex and on ndarray in turns.
//!
//! ```text
//! cargo bench --bench backends --features ndarray
//! ```
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

#[path = "../harness/mod.rs"]
#[allow(
    dead_code,
    reason = "here the backends take turns, elsewhere they follow each other"
)]
mod harness;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Int, Tensor};
use clap::Parser;
use harness::{Comparison, Contender, Options, timed};
use mac_burn::{Mac, MacConfig};
use mac_burn_examples::backend::{Flex, NdArray};
use mac_burn_examples::machine::describe_machine;
use mac_burn_models::resnet::{ResNet, ResNetConfig};
use mac_burn_models::{LeNet, LeNetConfig};

const CLASSES: usize = 10;
/// Of the digits network, as the example trains it.
const BATCH: usize = 32;
/// Of ResNet-20, with images of 32×32.
const BATCH_RESNET: usize = 16;
const FLEX: &str = "flex";
const LEARNING_RATE: f64 = 1e-3;

fn main() {
    let options = Options::parse();
    println!("# Training on the CPU\n{}\n", describe_machine());
    table(
        "digits LeNet, 32 images of 1x8x8",
        &options,
        work::<Flex, LeNet<_>>(FLEX, &options, lenet),
        work::<NdArray, LeNet<_>>("ndarray", &options, lenet),
    );
    table(
        "ResNet-20, 16 images of 3x32x32",
        &options,
        work::<Flex, ResNet<_>>(FLEX, &options, resnet),
        work::<NdArray, ResNet<_>>("ndarray", &options, resnet),
    );
}

/// A contender for the passes and one for the steps of a backend.
type Work<'a> = [Contender<'a>; 2];

fn table(case: &str, options: &Options, flex: Work<'_>, ndarray: Work<'_>) {
    if !options.wants_case(case) {
        return;
    }
    let ([flex_passes, flex_steps], [passes, steps]) = (flex, ndarray);
    for (what, contenders) in [
        ("forward and backward", vec![flex_passes, passes]),
        ("step of MAC", vec![flex_steps, steps]),
    ] {
        let comparison = Comparison::new(&["backend"], contenders, &[FLEX]).run(options);
        println!("{case}: {what}\n\n{comparison}\n");
    }
}

type Forward<B, M> = fn(&M, Tensor<B, 4>) -> Tensor<B, 2>;

/// A network, its inputs, and how it is applied.
type Made<B, M> = (M, Tensor<B, 4>, Forward<B, M>);

fn lenet<B: Backend>(quick: bool) -> Made<B, LeNet<B>> {
    let device = Default::default();
    let network = LeNetConfig::new([8, 8])
        .with_num_classes(CLASSES)
        .with_channels([32, 64]);
    let images = images([if quick { 2 } else { BATCH }, 1, 8, 8], &device);
    (network.init(&device), images, LeNet::forward)
}

fn resnet<B: Backend>(quick: bool) -> Made<B, ResNet<B>> {
    let device = Default::default();
    let network = ResNetConfig::resnet20(CLASSES);
    let images = images([if quick { 2 } else { BATCH_RESNET }, 3, 32, 32], &device);
    (network.init(&device), images, ResNet::forward)
}

fn images<B: Backend>(shape: [usize; 4], device: &B::Device) -> Tensor<B, 4> {
    Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device)
}

fn work<'a, B, M>(name: &str, options: &Options, make: fn(bool) -> Made<Autodiff<B>, M>) -> Work<'a>
where
    B: Backend,
    M: AutodiffModule<Autodiff<B>> + 'a,
{
    let contender = |work| Contender {
        cells: vec![name.to_string()],
        work,
    };
    let device = Default::default();
    let (network, images, forward) = make(options.quick());
    let passes =
        Box::new(move || timed::<B, _>(&device, || pass(&network, images.clone(), forward)).0);

    let device = Default::default();
    let (network, images, forward) = make(options.quick());
    let mut mac: Mac<M, Autodiff<B>> = MacConfig::new().init();
    let mut slot = Some(network);
    let steps = Box::new(move || {
        let network = slot.take().expect("a step gives the network back");
        let gradients = pass(&network, images.clone(), forward);
        let step = || mac.step(LEARNING_RATE, network, gradients);
        let (time, network) = timed::<B, _>(&device, step);
        slot = Some(network);
        time
    });
    [contender(passes), contender(steps)]
}

fn pass<B: Backend, M: AutodiffModule<Autodiff<B>>>(
    network: &M,
    images: Tensor<Autodiff<B>, 4>,
    forward: Forward<Autodiff<B>, M>,
) -> GradientsParams {
    let device = images.device();
    let [count, ..] = images.dims();
    let targets: Tensor<Autodiff<B>, 1, Int> =
        Tensor::arange(0..count as i64, &device).remainder_scalar(CLASSES as i64);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let loss = loss.forward(forward(network, images), targets);
    GradientsParams::from_grads(loss.backward(), network)
}
