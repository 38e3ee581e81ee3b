//! Shared parts of mac-burn's examples, tests and benchmarks: the backend that a feature selects,
//! data sets, and small helpers.

pub mod atomic_recorder;
pub mod backend;
pub mod caught;
pub mod command_line;
pub mod exit;
pub mod fingerprint;
pub mod images;
pub mod interval;
pub mod machine;
pub mod networks;
pub mod no_device;
pub mod optimizers;
pub mod tasks;
pub mod training;

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
