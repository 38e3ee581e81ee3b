//! The networks of mac-burn-models: a training pass of each, and whole training steps of MAC beside Burn's SGD and AdamW, with
//! the memory that these take.
//!
//! ```text
//! cargo bench --bench models --features ndarray -- --case passes
//! cargo bench --bench models -- --case steps --seconds 60
//! cargo bench --bench models -- --case 1/1
//! cargo bench --bench models -- --case 'steps ResNet-50 5/50'
//! cargo bench --bench models -- --curvatures --rounds 3 --seconds 60
//! cargo bench --bench models --features cuda -- --backend cuda --case 'steps DeiT-S' --batch 64
//! ```
//!
//! A step is measured by two schedules of MAC, `tcov`/`tinv`: 1/1, what a step costs at most, and the authors', 5/50 for ResNets
//! and 5/5 for DeiT. By the latter a time is the mean of five steps, one of which records; few of these have the step, every 50th,
//! in which means are taken into use, so that a median leaves it out.
//!
//! With `--curvatures` the steps are those of MAC, SMAC, FOOF, Eva and K-FAC, and each time is the mean from one refresh to the next.
//!
//! The bars on flex, for the whole step (forward, backward, optimizer) of ResNet-20, ResNet-50 and DeiT-S: at most 1.05 times
//! the time of SGD's, and at most 1.03 times its peak memory. Memory is the peak of what is allocated on the host, on
//! CUDA what the runtime has reserved of the GPU's after a step.
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/memory.rs"]
mod memory;
mod network;
mod passes;
mod steps;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use harness::{OnBackend, Options, on_backends};
use std::process::ExitCode;

fn main() -> ExitCode {
    on_backends::<Models>()
}

struct Models;

impl OnBackend for Models {
    fn title(_options: &Options) -> String {
        "Training passes and training steps of the networks".into()
    }

    fn run<B: Backend>(backend: &str, options: &Options) {
        if options.curvatures {
            return steps::curvature_tables::<Autodiff<B>>(options);
        }
        passes::table::<Autodiff<B>>(options);
        steps::tables::<Autodiff<B>>(options, backend == "flex");
    }
}
