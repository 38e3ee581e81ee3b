//! The same numbers on every backend that is compiled in.
//!
//! Each backend takes the authors' traces and 30 steps of the digits network in a process of its
//! own, and half precision where it has it. Every backend is compared with `NdArray<f64>`, and each
//! with each. A backend without a usable device is skipped, by name and with the reason; one that
//! `MAC_REQUIRE_BACKENDS` names must not be:
//!
//! ```sh
//! MAC_REQUIRE_BACKENDS=flex,ndarray,wgpu cargo test --features ndarray,wgpu --test backends
//! ```
//!
//! It breaks when a backend computes a statistic, the preconditioner or a step in another way. That it would, each
//! backend shows by mistakes made on purpose: a missed refresh, a layer preconditioned on the wrong side.
//! On Linux wgpu is asked once more with its driver hidden, and must say so in a sentence.
#![allow(clippy::print_stdout, reason = "what is skipped must be seen")]
// The replay of traces has parts that only the test of that name needs.
#![allow(dead_code)]

mod agreement;
mod bounds;
mod contender;
mod differences_table;
mod digits_run;
mod half_gradient;
mod half_run;
mod mistake;
mod process;
mod run;
mod trace_run;

#[path = "../traces/attention.rs"]
mod attention;
#[path = "../traces/case.rs"]
mod case;
#[path = "../traces/comparison.rs"]
mod comparison;
#[path = "../traces/coverage.rs"]
mod coverage;
#[path = "../traces/differences.rs"]
mod differences;
#[path = "../traces/error.rs"]
mod error;
#[path = "../traces/layer.rs"]
mod layer;
#[path = "../traces/layer_spec.rs"]
mod layer_spec;
#[path = "../traces/named_layers.rs"]
mod named_layers;
#[path = "../traces/names.rs"]
mod names;
#[path = "../traces/network.rs"]
mod network;
#[path = "../traces/replay.rs"]
mod replay;
#[path = "../traces/sequential.rs"]
mod sequential;
#[path = "../traces/signal.rs"]
mod signal;
#[path = "../traces/suite.rs"]
mod suite;
#[path = "../traces/tolerance.rs"]
mod tolerance;
#[path = "../traces/trace.rs"]
mod trace;
#[path = "../traces/trainer.rs"]
mod trainer;
#[path = "../traces/vision_transformer.rs"]
mod vision_transformer;

use crate::agreement::Agreement;
use crate::contender::{CONTENDERS, ORACLE};
use crate::process::{Outcome, answer_if_asked, ask, ask_without_vulkan};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = answer_if_asked() {
        return code;
    }
    let Outcome::Answered(oracle) = ask(&ORACLE) else {
        println!(
            "{} gave no answer to compare with\n0 passed, 1 failed",
            ORACLE.name
        );
        return ExitCode::FAILURE;
    };
    let mut agreement = Agreement::with(*oracle);
    for contender in CONTENDERS {
        println!("running {}", contender.name);
        agreement.add(contender.name, ask(contender));
        if contender.name == "wgpu" && cfg!(target_os = "linux") {
            let outcome = ask_without_vulkan(contender);
            agreement.expect_skipped(contender.name, outcome, "install a driver");
        }
    }
    agreement.require(&std::env::var("MAC_REQUIRE_BACKENDS").unwrap_or_default());
    println!("\n{agreement}");
    match agreement.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
