//! The time of an optimizer's step alone: MAC beside Burn's SGD with momentum, AdamW and Muon.
//!
//! ```text
//! cargo bench --bench step -- --case linear --rounds 30
//! cargo bench --bench step --features wgpu -- --backend wgpu
//! ```
//!
//! As in training, a forward pass goes before each step, and each step gets gradients that nobody
//! else holds, so that all contenders may work in place; both are made outside the clock. Muon
//! orthogonalizes matrices and is made for those of hidden layers: it is given these alone. The bars
//! for MAC at the linear layer from 1024 to 4096: on flex and wgpu at most 1.5 times SGD, and on flex at
//! most 0.8 times AdamW.
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
use burn::tensor::backend::{AutodiffBackend, Backend};
use contenders::{ADAMW, HEADERS, MAC, MAC_WITH_ADAMW, SGD, contenders};
use harness::{Comparison, OnBackend, Options, on_backends};
use mac_burn::MacLinear;
use mac_burn_models::{LeNet, Mlp, VisionTransformer};
use network::Network;

/// Of MAC's plain step to SGD's, on flex and on wgpu.
const BAR_SGD: f64 = 1.5;
/// Of MAC's plain step to AdamW's.
const BAR_ADAMW: f64 = 0.8;
/// The same for the vision transformer.
const BAR_ADAMW_VIT: f64 = 1.0;

fn main() {
    on_backends::<Step>();
}

struct Step;

impl OnBackend for Step {
    fn title(_options: &Options) -> String {
        "The optimizer's step".into()
    }

    fn run<B: Backend>(backend: &str, options: &Options) {
        let device = Default::default();
        let linear = case::<Autodiff<B>, MacLinear<_>>("linear", options, &device);
        case::<Autodiff<B>, Mlp<_>>("mlp 784-512-512-10", options, &device);
        case::<Autodiff<B>, LeNet<_>>("lenet 1x28x28", options, &device);
        let vit = case::<Autodiff<B>, VisionTransformer<_>>("vit 192, 12 blocks", options, &device);

        if !["flex", "wgpu"].contains(&backend) || options.quick() {
            return;
        }
        if let Some(linear) = linear {
            let sgd = linear.ratio(MAC, SGD);
            println!("MAC at the linear layer: {sgd} x SGD, bar {BAR_SGD}");
            if backend == "flex" {
                let adamw = linear.ratio(MAC, ADAMW);
                println!("and {adamw} x AdamW, bar {BAR_ADAMW}");
            }
        }
        if let Some(vit) = vit.filter(|_| backend == "flex") {
            for contender in [MAC, MAC_WITH_ADAMW] {
                let adamw = vit.ratio(contender, ADAMW);
                println!(
                    "{contender} at the vision transformer: {adamw} x AdamW, bar {BAR_ADAMW_VIT}"
                );
            }
        }
    }
}

fn case<'a, B: AutodiffBackend, N: Network<B> + 'a>(
    name: &str,
    options: &Options,
    device: &B::Device,
) -> Option<Comparison<'a>> {
    if !options.wants_case(name) {
        return None;
    }
    let contenders = contenders::<B, N>(options.quick(), device);
    let comparison = Comparison::new(&HEADERS, contenders, &[SGD, ADAMW]).run(options);
    println!("{name}\n\n{comparison}\n");
    Some(comparison)
}
