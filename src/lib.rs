//! What the examples, tests and benchmarks of mac-burn share: the backend that a feature selects,
//! data sets, and small helpers.

pub mod accuracy;
pub mod augment;
pub mod backend;
mod caught;
pub mod cifar;
pub mod command_line;
pub mod digits;
pub mod exit;
pub mod fingerprint;
pub mod image_batch;
pub mod image_data;
pub mod image_files;
pub mod image_folder;
pub mod image_network;
pub mod interval;
pub mod learner;
pub mod mnist;
pub mod networks;
pub mod no_device;
pub mod optimizer_choice;
pub mod parameter_average;
pub mod small_images;
pub mod tasks;
pub mod training;

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
