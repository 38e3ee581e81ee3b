//! How many kernels a step launches on wgpu or CUDA, by the log of the runtime: a number, so software Vulkan counts as well as
//! a GPU does. With `--times`, what each of them takes at a linear layer from 1024 to 4096.
//!
//! ```text
//! cargo bench --bench kernels --features wgpu
//! cargo bench --bench kernels --features wgpu -- --names
//! cargo bench --bench kernels --features wgpu -- --times
//! cargo bench --bench kernels --no-default-features --features wgpu -- --networks
//! ```
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

mod kernel_log;

use std::error::Error;
use std::process::ExitCode;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::LinearConfig;
use burn::nn::conv::Conv2dConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer, SgdConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};
use clap::Parser;
use kernel_log::{KernelLog, Launch};
use mac_burn::{MacConfig, MacConv2d, MacLinear, MacSelfAttention, SelfAttentionConfig};
use mac_burn_examples::backend::{self, Selected};
use mac_burn_examples::exit;
use mac_burn_models::resnet::{ResNet, ResNetConfig};
use mac_burn_models::{VisionTransformer, VisionTransformerConfig};

type B = Autodiff<Selected>;

/// Steps before one is counted: kernels are chosen and state is made.
const WARM_UP: usize = 3;
/// Steps that a time is the median of.
const TIMED_STEPS: usize = 9;
/// A period that no run reaches.
const NEVER: usize = 1_000_000_000;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 5e-4;

/// The selection of the command line.
#[derive(Parser)]
#[command(about = "Kernels launched in a step on wgpu or CUDA")]
struct Options {
    /// Print the name of each kernel
    #[arg(long)]
    names: bool,
    /// Print the name of each kernel and the time that it takes, alone, at a large linear layer
    #[arg(long)]
    times: bool,
    /// Count for ResNet-50 and DeiT-S in place of single layers
    #[arg(long, conflicts_with = "times")]
    networks: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    exit::explained(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if cfg!(not(any(feature = "wgpu", feature = "cuda"))) {
        // Not an error, which would end a `cargo bench` of all benchmarks.
        println!("only wgpu and cuda log their kernels: --features wgpu or --features cuda");
        return Ok(());
    }
    let log = KernelLog::start(options.times)?;
    let device = backend::device()?;

    println!(
        "| layer | SGD | AdamW | MAC | MAC, refreshed | MAC, guarded |\n|---|---|---|---|---|---|"
    );
    if options.networks {
        return networks(options, &log);
    }
    let [size, size_output] = if options.times {
        [1024, 4096]
    } else {
        [64, 256]
    };
    let linear: MacLinear<B> = LinearConfig::new(size, size_output).init(&device).into();
    let images: Tensor<B, 2> = Tensor::random([8, size], Distribution::Default, &device);
    case("linear", options, &log, linear, |layer| {
        layer.forward(images.clone()).sum()
    })?;
    if options.times {
        return Ok(());
    }

    let conv: MacConv2d<B> = Conv2dConfig::new([8, 16], [3, 3]).init(&device).into();
    let images = Tensor::random([8, 8, 10, 10], Distribution::Default, &device);
    case("convolution", options, &log, conv, |layer| {
        layer.forward(images.clone()).sum()
    })?;

    let attention: MacSelfAttention<B> = SelfAttentionConfig::new(32, 4).init(&device).into();
    let tokens = Tensor::random([4, 16, 32], Distribution::Default, &device);
    case(
        "self-attention, two layers",
        options,
        &log,
        attention,
        |layer| layer.forward(tokens.clone(), None).square().sum(),
    )?;
    Ok(())
}

/// Prints the rows of whole networks, whose optimizer steps do not depend on the batch.
fn networks(options: &Options, log: &KernelLog) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let images = |size| Tensor::<B, 4>::random([1, 3, size, size], Distribution::Default, &device);
    let resnet: ResNet<B> = ResNetConfig::resnet50().init(&device);
    let small = images(32);
    case("ResNet-50", options, log, resnet, |resnet| {
        resnet.forward(small.clone()).sum()
    })?;
    let deit: VisionTransformer<B> = VisionTransformerConfig::deit_small().init(&device);
    let large = images(224);
    case("DeiT-S", options, log, deit, |deit| {
        deit.forward(large.clone()).sum()
    })
}

/// Prints a row of the table.
fn case<M: AutodiffModule<B>>(
    name: &str,
    options: &Options,
    log: &KernelLog,
    layer: M,
    loss: impl Fn(&M) -> Tensor<B, 1>,
) -> Result<(), Box<dyn Error>> {
    let momentum = MomentumConfig::new()
        .with_momentum(MOMENTUM)
        .with_dampening(0.0);
    let sgd = SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(WeightDecayConfig::new(WEIGHT_DECAY as f32)));
    let adamw = AdamWConfig::new().with_weight_decay(WEIGHT_DECAY as f32);
    let mac = MacConfig::new()
        .with_momentum(MOMENTUM)
        .with_weight_decay(WEIGHT_DECAY)
        .with_guard_gradients(false);
    let every = mac.clone().with_tcov(1).with_tinv(1);
    let mac = mac.with_tcov(NEVER).with_tinv(NEVER);
    let guarded = mac.clone().with_guard_gradients(true);

    let steps = if options.times { TIMED_STEPS } else { 1 };
    let start = || (layer.clone(), &loss);
    let kernels = [
        step(sgd.init(), start(), log, steps)?,
        step(adamw.init(), start(), log, steps)?,
        step(mac.init(), start(), log, steps)?,
        step(every.init(), start(), log, steps)?,
        step(guarded.init(), start(), log, steps)?,
    ];
    let counts: Vec<String> = kernels.iter().map(|step| step.len().to_string()).collect();
    println!("| {name} | {} |", counts.join(" | "));
    if options.names || options.times {
        let optimizers = ["SGD", "AdamW", "MAC", "MAC, refreshed", "MAC, guarded"];
        for (optimizer, launches) in optimizers.iter().zip(kernels) {
            print_launches(optimizer, &launches);
        }
    }
    Ok(())
}

fn print_launches(optimizer: &str, launches: &[Launch]) {
    println!("{optimizer}:");
    for Launch { name, time } in launches {
        match time {
            Some(time) => println!("  {time:8.3} ms  {name}"),
            None => println!("  {name}"),
        }
    }
}

/// The kernels of a step, with the medians of what they take in so many steps.
fn step<M: AutodiffModule<B>, O: Optimizer<M, B>>(
    mut optimizer: O,
    (mut layer, loss): (M, impl Fn(&M) -> Tensor<B, 1>),
    log: &KernelLog,
    steps: usize,
) -> Result<Vec<Launch>, Box<dyn Error>> {
    let device = Default::default();
    let mut kernels = Vec::new();
    for _ in 0..WARM_UP + steps {
        let grads = GradientsParams::from_grads(loss(&layer).backward(), &layer);
        <Selected as Backend>::sync(&device)?;
        log.drain()?;
        layer = optimizer.step(1e-3, layer, grads);
        <Selected as Backend>::sync(&device)?;
        kernels.push(log.drain()?);
    }
    Ok(medians(kernels.split_off(WARM_UP)))
}

/// The kernels of the last step. A time is the median over all steps, which launch the same ones.
fn medians(mut steps: Vec<Vec<Launch>>) -> Vec<Launch> {
    let mut last = steps.pop().unwrap_or_default();
    for (index, launch) in last.iter_mut().enumerate() {
        let others = steps.iter().filter_map(|step| step.get(index)?.time);
        let mut times: Vec<f64> = others.chain(launch.time).collect();
        times.sort_by(f64::total_cmp);
        launch.time = times.get(times.len() / 2).copied();
    }
    last
}
