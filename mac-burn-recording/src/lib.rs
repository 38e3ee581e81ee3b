//! A backend that records what Burn's own layers see, for [`mac_burn`].
//!
//! ```
//! use burn::backend::{Autodiff, Flex};
//! use burn::tensor::{Tensor, backend::Backend};
//! use mac_burn_recording::Recording;
//!
//! type B = Recording<Autodiff<Flex>>;
//!
//! let device = Default::default();
//! assert!(B::ad_enabled(&device));
//! let input = Tensor::<B, 1>::ones([2], &device).require_grad();
//! let gradients = (input.clone() * 3.0).sum().backward();
//! input.grad(&gradients).unwrap().into_data().assert_eq(&[3.0f32, 3.0].into(), true);
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
#[cfg(feature = "distributed")]
mod distributed;
mod forward;
mod leaves;
mod renamed;
mod seen;

pub use backend::{Differentiating, Recording};
