//! Shared parts of mac-burn's examples, tests and benchmarks: the backend that a feature selects,
//! data sets, and small helpers.

pub mod atomic_recorder;
pub mod backend;
pub mod caught;
pub mod command_line;
pub mod digits;
pub mod exit;
pub mod fingerprint;
pub mod image_data;
#[cfg(feature = "images")]
pub mod image_files;
#[cfg(feature = "images")]
pub mod image_folder;
pub mod interval;
#[cfg(feature = "images")]
pub mod mnist;
pub mod no_device;
pub mod optimizer_choice;
pub mod tasks;
pub mod training;

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
