//! A backend that records what Burn's own layers see, so that [`mac_burn`]'s optimizers cover any model as it is.
//!
//! The type of the backend is the only line that changes:
//!
//! ```
//! use burn::backend::{Autodiff, Flex};
//! use burn::nn::{Linear, LinearConfig};
//! use burn::optim::{GradientsParams, Optimizer};
//! use burn::tensor::Tensor;
//! use mac_burn::MacConfig;
//! use mac_burn_recording::Recording;
//!
//! type B = Recording<Autodiff<Flex>>; // was Autodiff<Flex>
//!
//! let device = Default::default();
//! let mut model: Linear<B> = LinearConfig::new(8, 4).init(&device);
//! let mut optim = MacConfig::new().init();
//!
//! let loss = model.forward(Tensor::<B, 2>::ones([2, 8], &device)).sum();
//! let grads = GradientsParams::from_grads(loss.backward(), &model);
//! model = optim.step(0.1, model, grads);
//! assert_eq!(optim.report(&model).coverage(), 1.0);
//! ```
//!
//! # What is recorded
//!
//! The weight of each linear map that an operation of the backend is given: `Linear`, `Conv1d` to `3d`, `ConvTranspose1d` to `3d` and `Embedding`, the parts of Burn's attention,
//! transformers and recurrent layers that are such, and `matmul` with a parameter of two axes. The parameter may be the left or the right factor, transposed,
//! given further axes of 1, or cast to another type, as mixed precision does. Optimizers, schedules, records, replicas and reports are those of recorded layers, and so are
//! the numbers, bit for bit, but for:
//!
//! - **Attention's values** have the mean of their tokens; recorded attention weights it by the probabilities, which no operation sees together with the weight.
//!   [`LayerReport::mean_of_tokens`](mac_burn::LayerReport::mean_of_tokens) says so.
//! - **Padded tokens** count, since masks are applied elsewhere.
//! - **Recurrent layers** are seen at each step of time, a pass each: the sums are the same up to rounding, more operations make them, and for K-FAC
//!   each step is a sample. The biases of a `Gru` are added apart from its products, and are not covered.
//! - **A weight of several maps**, such as an embedding that is the output layer too, is left alone.
//!
//! All other parameters are in [`Report::uncovered`](mac_burn::Report::uncovered), with the reason. A layer that holds recorders, such as a `MacMultiHeadAttention` in such a model, keeps its own; nothing counts twice.
//!
//! # How a parameter is known
//!
//! The decorator stands outside of `Autodiff`, has the same tensors and the same inner backend, and forwards every operation; training is the same bit for bit. So it sees forward passes, and neither
//! backward passes nor recomputation, and `valid()` leaves it. A parameter is a leaf of the graph. A leaf that a step or a `fork` makes of another stands for the same
//! parameter: a fork is what is moved and detached, a step what takes a leaf's inner tensor and makes a leaf of the next inner tensor of that shape, in one thread. Where an optimizer
//! does otherwise, each step begins anew: all passes are recorded, those that are not due too.
//!
//! `detach` by itself is a fork that stays on its device: until the first step of either, passes of a parameter made so count for its original too.
//! [`with_fresh_recorders`](mac_burn::with_fresh_recorders) separates them; [`unrecorded`](mac_burn::unrecorded) switches off the recorders of layers only.
//!
//! Nothing here keeps a model alive. What is known of a leaf is dropped some time after the leaf is.
//!
//! # When to use recorded layers instead
//!
//! For a model of your own, above all one with attention. Recorded layers work on any backend and are the stable interface: this crate forwards each operation that Burn 0.21's
//! backends have, and ends with it.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
#[cfg(feature = "distributed")]
mod distributed;
mod forward;
mod leaves;
mod renamed;
mod seen;

pub use backend::{Differentiating, Recording};

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
