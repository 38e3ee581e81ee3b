//! The time of an optimizer's step alone: MAC beside Burn's SGD with momentum, AdamW and Muon.
//!
//! ```text
//! cargo bench --bench step -- --case linear --rounds 30
//! cargo bench --bench step -- --curvatures --case lenet
//! cargo bench --bench step --features wgpu -- --backend wgpu
//! cargo bench --bench step --features cuda -- --backend cuda --case linear --in-a-row 20
//! ```
//!
//! As in training, a forward pass goes before each step, and each step gets gradients that nobody
//! else holds, so that all contenders may work in place; both are made outside the clock. Muon
//! orthogonalizes matrices and is made for those of hidden layers: it is given these alone. A single step on a GPU should be mostly
//! the latency of its launches; in training the device is busy meanwhile, and steps in a row show what they cost it. The bars
//! for MAC at the linear layer from 1024 to 4096: on flex and wgpu at most 1.5 times SGD, and on flex at
//! most 0.8 times AdamW; for its normalized step at most AdamW's time.
//!
//! With `--curvatures` MAC is beside SMAC, FOOF, Eva and K-FAC, each between two refreshes and with statistics taken and refreshed in each
//! step. What it takes to record them is a part of the forward and backward pass, and not of the step: see the benchmark `models`.
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

mod contenders;
mod gradients;
#[path = "../harness/mod.rs"]
mod harness;
mod network;

use burn::backend::Autodiff;
use burn::nn::LinearConfig;
use burn::tensor::backend::{AutodiffBackend, Backend};
use contenders::{
    ADAMW, HEADERS, MAC, MAC_WITH_ADAMW, NORMALIZED, SGD, contenders, curvature_contenders,
};
use harness::{Comparison, OnBackend, Options, on_backends};
use mac_burn::MacLinear;
use mac_burn_models::{
    LeNet, LeNetConfig, Mlp, MlpConfig, ResNet, ResNetConfig, VisionTransformer,
    VisionTransformerConfig,
};
use network::Network;
use std::process::ExitCode;

/// Of MAC's plain step to SGD's, on flex and on wgpu.
const BAR_SGD: f64 = 1.5;
/// Of MAC's plain step to AdamW's.
const BAR_ADAMW: f64 = 0.8;
/// The same for the vision transformer, and for the normalized step everywhere.
const BAR_ADAMW_FORMS: f64 = 1.0;

fn main() -> ExitCode {
    on_backends::<Step>()
}

struct Step;

impl OnBackend for Step {
    fn title(_options: &Options) -> String {
        "The optimizer's step".into()
    }

    fn run<B: Backend>(backend: &str, options: &Options) {
        let device = Default::default();
        let quick = options.quick();
        let linear = |[size, columns]: [usize; 2], device: &B::Device| -> MacLinear<Autodiff<B>> {
            let divisor = if quick { 16 } else { 1 };
            LinearConfig::new(size / divisor, columns / divisor)
                .init(device)
                .into()
        };
        let square = [4096, 4096];
        if !options.curvatures {
            case("linear 4096x4096", options, &device, &|| {
                linear(square, &device)
            });
        }
        let linear = case("linear 1024x4096", options, &device, &|| {
            linear([1024, 4096], &device)
        });
        case::<Autodiff<B>, Mlp<_>>("mlp 784-512-512-10", options, &device, &|| {
            MlpConfig::new(vec![784, 512, 512, 10]).init(&device)
        });
        let lenet = case::<Autodiff<B>, LeNet<_>>("lenet 1x28x28", options, &device, &|| {
            LeNetConfig::new([28, 28]).init(&device)
        });
        if options.curvatures {
            case::<Autodiff<B>, ResNet<_>>("resnet-20", options, &device, &|| {
                ResNetConfig::resnet20(10).init(&device)
            });
        }
        // Of DeiT-Ti's width, for images of 32×32.
        let vit = VisionTransformerConfig::deit_tiny_cifar(10);
        let vit = vit.with_n_layers(if quick { 1 } else { 12 });
        let vit = case::<Autodiff<B>, VisionTransformer<_>>(
            "vit 192, 12 blocks",
            options,
            &device,
            &|| vit.init(&device),
        );

        let is_other = options.curvatures || options.quick() || options.in_a_row > 1;
        if is_other || !["flex", "wgpu"].contains(&backend) {
            return;
        }
        if let Some(linear) = &linear {
            let sgd = linear.ratio(MAC, SGD);
            println!("MAC at the linear layer: {sgd} x SGD, bar {BAR_SGD}");
            if backend == "flex" {
                let adamw = linear.ratio(MAC, ADAMW);
                println!("and {adamw} x AdamW, bar {BAR_ADAMW}");
            }
        }
        if backend == "flex" {
            for (case, comparison, contenders) in [
                ("linear layer", linear, &[NORMALIZED][..]),
                ("LeNet", lenet, &[NORMALIZED]),
                (
                    "vision transformer",
                    vit,
                    &[MAC, MAC_WITH_ADAMW, NORMALIZED],
                ),
            ] {
                let Some(comparison) = comparison else {
                    continue;
                };
                for contender in contenders {
                    let adamw = comparison.ratio(contender, ADAMW);
                    println!("{contender} at the {case}: {adamw} x AdamW, bar {BAR_ADAMW_FORMS}");
                }
            }
        }
    }
}

fn case<'a, B: AutodiffBackend, N: Network<B> + 'a>(
    name: &str,
    options: &Options,
    device: &B::Device,
    make: &dyn Fn() -> N,
) -> Option<Comparison<'a>> {
    if !options.wants_case(name) {
        return None;
    }
    let contenders = match options.curvatures {
        true => curvature_contenders::<B, N>(options, make, device),
        false => contenders::<B, N>(options, make, device),
    };
    let comparison = Comparison::new(&HEADERS, contenders, &[SGD, ADAMW]).run(options);
    let steps = match options.in_a_row {
        1 => String::new(),
        steps => format!(", {steps} steps in a row"),
    };
    println!("{name}{steps}\n\n{comparison}\n");
    Some(comparison)
}
