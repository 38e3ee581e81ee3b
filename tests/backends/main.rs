//! The same numbers on every backend that is compiled in.
//!
//! Each backend takes the authors' traces, 30 steps of the digits network, 10 of attention under masks and 6 of every other recorded layer in a process of
//! its own, and half precision where it has it. Every backend is compared with `NdArray<f64>`, and each
//! with each. A backend without a usable device is skipped, by name and with the reason; one that
//! `MAC_REQUIRE_BACKENDS` names must not be, nor one that `MAC_BACKENDS` names, with which no others run:
//!
//! ```sh
//! MAC_REQUIRE_BACKENDS=flex,ndarray,wgpu cargo test -p mac-burn-tests --no-default-features \
//!     --features flex,ndarray,wgpu --test backends
//! ```
//!
//! It breaks when a backend computes a statistic, the preconditioner or a step in another way. That it would, each
//! backend shows by mistakes made on purpose: a missed refresh, a layer preconditioned on the wrong side, padding that counts.
//! On Linux wgpu is asked once more with its driver hidden, and must say so in a sentence.
#![allow(clippy::print_stdout, reason = "what is skipped must be seen")]

mod agreement;
mod attention_run;
mod contender;
mod digits_run;
mod half;
mod layer_run;
mod run;
mod trace_run;
mod traces;

use crate::agreement::Agreement;
use crate::contender::{
    CONTENDERS, Contender, ORACLE, Outcome, answer_if_asked, ask, ask_without_vulkan,
};
use std::env;
use std::process::ExitCode;
// The files of the replay name each other from the root of the crate.
use crate::traces::*;

/// The one test.
const TEST: &str = "backends";

fn main() -> ExitCode {
    if let Some(code) = answer_if_asked() {
        return code;
    }
    let arguments = Arguments::read(env::args().skip(1));
    match (arguments.list, arguments.want(TEST)) {
        (true, true) => println!("{TEST}: test"),
        (true, false) => {}
        (false, true) => return compare(),
        (false, false) => println!("0 passed, 0 failed, 0 skipped, 1 filtered out"),
    }
    ExitCode::SUCCESS
}

/// Runs all backends.
fn compare() -> ExitCode {
    let [only, required] = ["MAC_BACKENDS", "MAC_REQUIRE_BACKENDS"].map(env::var);
    let runs = |contender: &&Contender| {
        let names = |only: &String| names_in(only).any(|name| name == contender.name);
        only.as_ref().map_or(true, names)
    };
    let compared: Vec<_> = CONTENDERS.iter().filter(runs).collect();
    let contenders: Vec<_> = [&ORACLE]
        .into_iter()
        .chain(compared.iter().copied())
        .collect();
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    println!("running {}", names.join(", "));
    let mut outcomes = ask(&contenders).into_iter();
    let oracle = match outcomes.next() {
        Some(Outcome::Answered(oracle)) => oracle,
        Some(Outcome::Skipped(reason) | Outcome::Failed(reason)) => {
            println!(
                "{} gave no answer to compare with: {reason}\n0 passed, 1 failed, 0 skipped",
                ORACLE.name
            );
            return ExitCode::FAILURE;
        }
        None => unreachable!("the oracle is asked first"),
    };
    let mut agreement = Agreement::with(*oracle);
    for (contender, outcome) in compared.into_iter().zip(outcomes) {
        agreement.add(contender.name, outcome);
        if contender.name == "wgpu" && cfg!(target_os = "linux") {
            let outcome = ask_without_vulkan(contender);
            let sentence = ["No possible adapter", "install a driver"];
            agreement.expect_skipped(contender.name, outcome, &sentence);
        }
    }
    for list in [only, required].into_iter().flatten() {
        agreement.require(names_in(&list));
    }
    println!("\n{agreement}");
    match agreement.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The names in a list with commas.
fn names_in(list: &str) -> impl Iterator<Item = &str> {
    let names = list.split(',').map(str::trim);
    names.filter(|name| !name.is_empty())
}

/// The arguments of the command line, in the words of Rust's own test harness; no test here is ignored.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Whether a list is asked for, not a run.
    pub(crate) list: bool,
    exact: bool,
    only_ignored: bool,
    filters: Vec<String>,
    skipped: Vec<String>,
}

/// Options whose value may be the next argument, of those that are taken and change nothing here.
const WITH_VALUE: [&str; 6] = [
    "--color",
    "--format",
    "--logfile",
    "--shuffle-seed",
    "--test-threads",
    "-Z",
];

impl Arguments {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut read = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => read.list = true,
                "--exact" => read.exact = true,
                "--ignored" => read.only_ignored = true,
                "--skip" => read.skipped.extend(arguments.next()),
                option if WITH_VALUE.contains(&option) => drop(arguments.next()),
                option if option.starts_with('-') => {
                    let skipped = option.strip_prefix("--skip=");
                    read.skipped.extend(skipped.map(ToString::to_string));
                }
                _ => read.filters.push(argument),
            }
        }
        read
    }

    /// Whether the test of this name is among those asked for.
    pub(crate) fn want(&self, test: &str) -> bool {
        let names = |pattern: &String| match self.exact {
            true => test == pattern,
            false => test.contains(pattern.as_str()),
        };
        let chosen = self.filters.is_empty() || self.filters.iter().any(names);
        chosen && !self.only_ignored && !self.skipped.iter().any(names)
    }
}
