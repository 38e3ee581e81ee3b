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
//! Linear maps whose weight is a parameter: `Linear`, `Conv1d` to `3d`, `ConvTranspose1d` to `3d` and `Embedding`, the layers of these kinds within Burn's attention,
//! transformers and recurrent layers, and `matmul` with a parameter of two axes. The parameter may be the left or the right factor, transposed, given further axes of 1
//! before its own, or cast to another type, as mixed precision does. Optimizers, schedules, records, replicas and reports are those of recorded layers, and the numbers are
//! equal bit for bit, except:
//!
//! - **Attention's values** have the mean of their tokens; recorded attention weights it by the probabilities, which no operation sees together with the weight.
//!   [`LayerReport::mean_of_tokens`](mac_burn::LayerReport::mean_of_tokens) says so.
//! - **Padded tokens** count, since masks are applied by other operations.
//! - **Recurrent layers** are recorded once per time step: sums differ by rounding, recording launches more kernels, and K-FAC counts each time step as
//!   a sample. The biases of a `Gru` are added apart from its products, and are not covered.
//! - **Asymmetric padding** of convolutions, and products with batches of matrices, are summed in another order, and differ by rounding.
//! - **Products `[samples, 1, size]` × `[1, size, outputs]`** reach a backend as `[1, samples, size]`, so that K-FAC takes all samples for one. Use `Linear`, or
//!   tensors of two axes.
//!
//! A weight may be used in several linear maps, as a tied embedding is. Its statistics are those of the map that it was first preconditioned by: a step whose backward pass went through
//! another map, or through several, adds nothing to them. A weight that had no step with a single map is not preconditioned. Two trained biases of a weight make two maps. Other uses, by `select`, slices or
//! element-wise products, are ignored. A product of two parameters is not recorded, since neither is the input.
//!
//! All other parameters are in [`Report::uncovered`](mac_burn::Report::uncovered), with the reason. A layer with recorders of its own in such a model, such as
//! `MacMultiHeadAttention`, keeps them, and nothing counts twice.
//!
//! # How a parameter is identified
//!
//! The decorator stands outside of `Autodiff`, has the same tensors and the same inner backend, and forwards every operation, so training is the same bit for bit. It sees forward passes, and
//! neither backward passes nor recomputation, and `valid()` removes it.
//!
//! Operations receive tensors, not `ParamId`s, so a parameter is identified by its leaf in the autodiff graph. Clones of a module share the leaf. A new leaf stands for the
//! parameter of an old one in two cases: `fork`, which is `to_device` followed by `detach`; and an optimizer's step, which is `inner`, followed in the same thread by
//! `from_inner` with a tensor of the same shape and `require_grad`. An optimizer that makes its parameters in another way works too, but its schedule begins anew with each step, so that all passes
//! are recorded.
//!
//! `detach` by itself is a fork that stays on its device: until the first step of either, passes of a parameter made so count for its original too.
//! [`with_fresh_recorders`](mac_burn::with_fresh_recorders) separates them; [`unrecorded`](mac_burn::unrecorded) switches off the recorders of layers only.
//!
//! The registry keeps no model alive. Entries of dropped parameters are removed from time to time.
//!
//! # When to use recorded layers instead
//!
//! For a model of your own, above all one with attention. Recorded layers work on any backend and are the stable interface; this crate forwards each operation that the
//! backends of Burn 0.21 have, and supports that version only.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
#[cfg(feature = "distributed")]
mod distributed;
mod forward;
mod leaves;
mod links;
mod renamed;
mod seen;

pub use backend::{Differentiating, Recording};

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
