//! MAC for [Burn](burn): second-order training at the memory of SGD.
//!
//! MAC (Mean Activation approximated Curvature; H. Seung, J. Lee, H. Ko, ICDM 2025,
//! arXiv:2506.08464) preconditions gradients as K-FAC does. A layer's curvature is one vector, the
//! mean of its inputs, and its inverse is a rank-one formula.
//!
//! To train with it, change the type of a field from `Linear<B>` to [`MacLinear<B>`](MacLinear) or
//! from `Conv2d<B>` to [`MacConv2d<B>`](MacConv2d), convert the layer in the struct literal, and make the
//! optimizer from a [`MacConfig`]:
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{LinearConfig, Relu};
//! use burn::optim::{GradientsParams, Optimizer};
//! use burn::tensor::{Tensor, backend::Backend};
//! use mac_burn::{MacConfig, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//!
//! #[derive(Module, Debug)]
//! struct Model<B: Backend> {
//!     hidden: MacLinear<B>,
//!     output: MacLinear<B>,
//! }
//!
//! impl<B: Backend> Model<B> {
//!     fn new(device: &B::Device) -> Self {
//!         Self {
//!             hidden: LinearConfig::new(64, 32).init(device).into(),
//!             output: LinearConfig::new(32, 10).init(device).into(),
//!         }
//!     }
//!
//!     fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
//!         self.output.forward(Relu::new().forward(self.hidden.forward(input)))
//!     }
//! }
//!
//! let device = Default::default();
//! let mut model = Model::<B>::new(&device);
//! let mut optim = MacConfig::new().init();
//! # let inputs = Tensor::ones([2, 64], &device);
//!
//! let loss = model.forward(inputs).sum();
//! let grads = GradientsParams::from_grads(loss.backward(), &model);
//! model = optim.step(0.1, model, grads);
//! ```
//!
//! Attention has recorded layers as well: [`MacMultiHeadAttention`], [`MacCrossAttention`],
//! [`MacTransformerEncoder`] and [`MacTransformerDecoder`] are Burn's, [`MacSelfAttention`] has one projection to queries, keys and
//! values. The fields of Burn's inputs are private, so in place of `MhaInput`, `TransformerEncoderInput` and
//! `TransformerDecoderInput` they take [`AttentionInput`], [`EncoderInput`] and [`DecoderInput`], which are
//! made by the same methods.
//!
//! So have Burn's recurrent layers, [`MacLstm`], [`MacGru`], [`MacRnn`] and those of both directions, and its
//! [`MacSwiGlu`].
//!
//! Four things work together: a [`Recorder`] sums what a layer saw, in a [`Recorded`] layer;
//! [`MacPreconditioner`] keeps each layer's curvature and applies it to the gradients;
//! [`MacOptimizer`] takes the step; [`Mac`] is the two of them as one of Burn's optimizers. The
//! network's first layer may take an [`InputCovariance`]. What no recorder covers, such as norms, and
//! embeddings take the step without preconditioning or [that of an auxiliary
//! optimizer](Mac::with_auxiliary_optimizer).
//!
//! K-FAC, FOOF, Eva and SMAC, which MAC is compared with, are made by [`KfacConfig`], [`FoofConfig`], [`EvaConfig`] and [`SmacConfig`] and used as MAC is.
//!
//! The [`guide`] has settings and schedules, target networks and GANs, saving and resuming, the conversion of a model, and a
//! table of what to do about what a report shows.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod curvature;
mod error;
mod fusion;
pub mod guide;
mod inventory;
mod layer;
mod layers;
mod number;
mod optimizer;
mod patterns;
mod precision;
mod preconditioner;
pub mod recording_backend;
pub mod replicas;
mod report;
pub mod spectrum;
mod statistics;

pub use config::{
    CurvatureConfig, EvaConfig, FoofConfig, InputCurvature, KfacConfig, MacConfig, SmacConfig,
    WeightDecayForm,
};
pub use curvature::{FirstLayer, GradientScale, InputCovariance, KfacDamping};
pub use error::MacError;
pub use layers::{
    AttentionInput, DecoderInput, EncoderInput, MacBiGru, MacBiLstm, MacBiRnn, MacConv1d,
    MacConv2d, MacConv3d, MacConvTranspose1d, MacConvTranspose2d, MacConvTranspose3d,
    MacCrossAttention, MacEmbedding, MacGru, MacLinear, MacLstm, MacMultiHeadAttention, MacRnn,
    MacSelfAttention, MacSwiGlu, MacTransformerDecoder, MacTransformerDecoderLayer,
    MacTransformerEncoder, MacTransformerEncoderLayer, Recorded, RecordedLayer, SelfAttention,
    SelfAttentionConfig, unrecorded, with_fresh_recorders,
};
pub use optimizer::{
    AuxiliaryOptimizerReport, Mac, MacOptimizer, MacOptimizerState, MacRecord, MacRecordItem,
    NoAuxiliaryOptimizer, NoAuxiliaryOptimizerState, ParameterState, StepForm,
};
pub use preconditioner::{MacPreconditioner, MacPreconditionerRecord};
pub use report::{Coverage, LayerReport, Report, UncoveredParameter, UncoveredReason};
pub use statistics::{AttendedValues, Recorder, WeightSharing, without_recording};

/// The programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
