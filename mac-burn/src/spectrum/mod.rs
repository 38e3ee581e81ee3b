//! Second moments on both sides of a layer: how well a mean stands for its inputs, and how far the gradients at its outputs are from
//! having no direction.
//!
//! K-FAC approximates the curvature of a layer by `A ⊗ P`, with `A = E[a aᵀ]` of its inputs `a = [x ; 1]` (no 1 without a bias) and
//! `P = E[g gᵀ]` of the gradients `g` at its outputs. MAC takes `A` for `ā āᵀ + ρ I`, and `P` for a multiple of the identity.
//!
//! The first is right to the degree to which `A` has one large eigenvalue whose eigenvector is the direction of the mean `ā`. The rows of
//! a value projection are the values through attention, so there it takes queries that attend alike as well. [`Spectrum`] measures
//! all three, for a model and data of your own:
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::{Distribution, Tensor};
//! use mac_burn::MacLinear;
//! use mac_burn::spectrum::Spectrum;
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//!
//! let model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
//! let batches = (0..3).map(|_| Tensor::<B, 2>::random([64, 8], Distribution::Default, &device));
//! let spectrum = Spectrum::of(&model, |model| {
//!     for batch in batches {
//!         model.forward(batch);
//!     }
//! });
//! println!("{spectrum}");
//! # assert!(spectrum.layers[0].mean_share > 0.7);
//! ```
//!
//! The second costs little where the step that has `P⁻¹` in it, `P⁻¹ G`, is along the gradient `G` of the layer. [`OutputSpectrum`]
//! measures the cosine between the two, and the eigenvalues of `P`. It needs backward passes, and their gradients:
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::optim::GradientsParams;
//! use burn::tensor::{Distribution, Tensor};
//! use mac_burn::MacLinear;
//! use mac_burn::spectrum::OutputSpectrum;
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//!
//! let model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
//! let batch = Tensor::<B, 2>::random([64, 8], Distribution::Default, &device);
//! let spectrum = OutputSpectrum::of(&model, |model| {
//!     let loss = model.forward(batch).square().mean();
//!     GradientsParams::from_grads(loss.backward(), model)
//! });
//! println!("{spectrum}");
//! # assert_eq!(spectrum.layers[0].rank(), 4);
//! # assert!(spectrum.layers[0].cosine(0.0).is_some());
//! ```
//!
//! For more than one batch, add up their gradients with [`GradientsAccumulator`](burn::optim::GradientsAccumulator).
//!
//! # How to read it
//!
//! Of the inputs:
//!
//! - `share of λ₁`, `λ₁ / Σ λ`: the part of the second moment's trace that a rank-one matrix can stand for at most. Near 1, one
//!   direction is nearly all of the curvature; near `1 / size`, there is no direction to tell from the others.
//! - `λ₁ / λ₂`: how far the first eigenvalue is from the next.
//! - `cos²`, that between the first eigenvector and the mean: near 1, the mean is the direction to take out of the step.
//! - `mean's share`, `‖ā‖² / E‖a‖²`: the part that the mean itself explains; it is never above the share of `λ₁`. Inputs that are as
//!   often far to one side as to the other have a first eigenvalue without a mean. Where the mean's share is small, MAC has little to
//!   precondition with: it is SGD with momentum where the damping is above `‖ā‖²`.
//! - `attention`, `n ‖ᾱ‖² / ‖Ā‖²` of the probabilities `Ā` of `n` queries, averaged over samples and heads, and their mean `ᾱ` over
//!   the queries: from `1 / n` to 1, where the averages of all queries are alike. A causal network that attends to all tokens
//!   before a query alike has 0.76 for three tokens. Heads and samples that differ from each other are not seen in it.
//!
//! Of the gradients at the outputs, of `n` eigenvalues `λ₁ ≥ λ₂ ≥ … ≥ λₙ`:
//!
//! - `λ₁ / λₙ`, the condition number: near 1, `P` is near a multiple of the identity, and nothing is lost without it. It is infinite
//!   where `P` is singular, as it often is: the gradients of a softmax classifier add up to 0 in each row, a unit that a rectifier
//!   keeps at 0 has none, and fewer rows than outputs do not span them.
//! - `rank`, the number `r` of eigenvalues that are above 0 by more than rounding, and `λ₁ / λᵣ`, the condition number within their
//!   eigenvectors. Where it is at the [bound of rounding](#what-is-measured), near `1e5` in `f32`, there may be smaller eigenvalues.
//! - `cos`, `cos(P⁺G, G) = ⟨P⁺G, G⟩ / (‖P⁺G‖ ‖G‖)` with the pseudo-inverse `P⁺`: near 1, the step without `P` has the direction of that
//!   with it, whatever the condition number is: it takes no notice of directions that the gradient has no part of. It is never negative.
//!   Where eigenvalues are far apart `P⁺G` lies along the smallest of them, of which a batch knows least; where these are at the bound of
//!   rounding, the cosine is small, and how small depends on that bound.
//! - `damped`, the same with `(P + δ I)⁻¹`, where `δ` is [a hundredth](DAMPING) of the mean eigenvalue: what a step could make of `P`.
//!   [`cosine`](LayerOutputSpectrum::cosine) has it for other dampings.
//!
//! Measure on several times as many rows as a layer has outputs: of fewer, the eigenvalues are farther apart than those of the data, and
//! the cosines smaller.
//!
//! `G` has the gradient of a bias as its last column. Of a projection to queries, keys and values each has a `P` and a `G` of its own,
//! and so has each group of a convolution. Gradients are those of the loss as it is: with the mean over `N` rows they are `N` times
//! smaller than the rows' own, and the eigenvalues `N²` times; ratios and cosines are the same. With labels from the data `P` is that of
//! the empirical Fisher information; with labels that are drawn from the network's predictions it is that of the Fisher information.
//!
//! # What is measured
//!
//! The 1 of a bias is an input as any other, so that a layer with small inputs has a mean that explains most, by the bias. The
//! mean is that of the rows; for a value projection MAC has the product of the averages over a batch in its place
//! ([`MacMultiHeadAttention`](crate::MacMultiHeadAttention)). Padded tokens are inputs here, but they are not among the rows of `P`.
//!
//! Sums are in the type of the inputs or gradients, but at least in `f32`. So eigenvalues of inputs of less than `1e-6 λ₁` are rounding,
//! and may be negative. Those of gradients are given as 0 where they may be rounding: below `λ₁ ε (8 + √N)` with the number `N` of rows,
//! or of outputs if they are more, and the distance `ε` of 1 to the next number in the type of the sums, which is `1e-6` to `1e-4` of `λ₁`
//! in `f32`; and below `λ₁ ε²` with that of the weight's type, for gradients in half precision. Eigenvalues are found on the host in
//! `f64`, in a time that grows with the cube of a layer's size: seconds for a thousand.

mod inputs;
mod outputs;

pub use inputs::{InputPart, LayerSpectrum, Spectrum};
pub use outputs::{DAMPING, LayerOutputSpectrum, OutputPart, OutputSpectrum};

use crate::layer::Layer;
use crate::recording_backend::{Aliases, recorded_parameter};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use nalgebra::{DMatrix, SymmetricEigen};
use std::collections::HashSet;

/// The parameters of a module, in its order.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    found: Vec<Parameter>,
    aliases: Aliases,
}

struct Parameter {
    id: ParamId,
    /// The path of the layer that holds it.
    layer: String,
    dtype: DType,
}

impl Parameters {
    fn of<B: Backend, M: Module<B>>(module: &M) -> Self {
        let mut visitor = Self::default();
        module.visit(&mut visitor);
        visitor
    }

    /// Measurements of layers, with the module's parameters for those that only a [backend that records](crate::recording_backend) knows. Its
    /// measurements of a layer that has a recorder are left out.
    fn with_known_layers<T>(&self, measured: Vec<(Layer, T)>) -> Vec<(Layer, T)> {
        let is_known = |layer: &Layer| self.found.iter().any(|found| found.id == layer.weight);
        let (mut known, others): (Vec<_>, Vec<_>) =
            measured.into_iter().partition(|(layer, _)| is_known(layer));
        let recorded: HashSet<ParamId> = known.iter().map(|(layer, _)| layer.weight).collect();
        let others = others.into_iter().filter_map(|(layer, measured)| {
            let layer = self.aliases.resolved(layer)?;
            (!recorded.contains(&layer.weight)).then_some((layer, measured))
        });
        known.extend(others);
        known
    }
}

impl<B: Backend> ModuleVisitor<B> for Parameters {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let layer = match self.path.len() {
            // A bare parameter is its own layer.
            0 | 1 => &self.path[..],
            length => &self.path[..length - 1],
        };
        let layer = layer.join(".");
        if let Some(recorded) = recorded_parameter(param) {
            self.aliases.insert(recorded.id, param.id, &layer);
        }
        self.found.push(Parameter {
            id: param.id,
            layer,
            dtype: param.val().dtype(),
        });
    }
}

/// The eigenvalues of a symmetric matrix, the largest first, and the eigenvectors as columns in the same order. They are no numbers where
/// an element is none: the search would not end.
fn eigen(matrix: DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let size = matrix.nrows();
    if !matrix.iter().all(|value| value.is_finite()) {
        let vectors = DMatrix::from_element(size, size, f64::NAN);
        return (vec![f64::NAN; size], vectors);
    }
    let eigen = SymmetricEigen::new(matrix);
    let values = &eigen.eigenvalues;
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|left, right| values[*right].total_cmp(&values[*left]));
    let vectors = eigen.eigenvectors.select_columns(&order);
    (order.iter().map(|index| values[*index]).collect(), vectors)
}
