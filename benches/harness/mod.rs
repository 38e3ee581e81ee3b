//! Measures contenders against each other on a noisy machine.
//!
//! The usual harnesses measure one contender to the end and then the next, so that a change of the
//! machine's load lands on one of them, and they print no ratios. Here the contenders take turns
//! within one run: each round visits all of them, and a ratio is the median over the rounds of the
//! ratio within a round.
//!
//! A visit repeats the work a few times and drops the first time: what is measured is close to the
//! steady state of a loop that does nothing else, rather than the caches and the free memory that
//! the previous contender left.

mod backends;
mod comparison;
mod options;
mod ratio;

pub(crate) use comparison::{Comparison, Contender};
pub(crate) use options::Options;
#[allow(
    unused_imports,
    reason = "a benchmark takes its backends one by one or lets them take turns, and not every one has bars"
)]
pub(crate) use {
    backends::{OnBackend, on_backends},
    ratio::verdict,
};

use burn::tensor::backend::Backend;
use std::time::{Duration, Instant};

/// The time that `work` takes until the device has finished it.
pub(crate) fn timed<B: Backend, T>(device: &B::Device, work: impl FnOnce() -> T) -> (Duration, T) {
    synchronize::<B>(device);
    let start = Instant::now();
    let result = work();
    synchronize::<B>(device);
    (start.elapsed(), result)
}

fn synchronize<B: Backend>(device: &B::Device) {
    B::sync(device).expect("the device finishes what it was given");
}
