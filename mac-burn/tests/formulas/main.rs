//! Statistics and steps against the formulas, in `f64`.
//!
//! The default type of a device is one for a process, so what is tested in `f32` is beside this folder.

#[path = "../support/mod.rs"]
mod support;

mod convergence;
mod convolutions;
mod covariance;
mod curvatures;
mod dense_curvatures;
mod embeddings;
mod output_spectrum;
mod recording;
mod reduction;
mod spectrum;
mod step_forms;
mod transposed_linear;
