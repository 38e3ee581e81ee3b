//! How well a mean stands for the inputs of a layer: the spectra of their second moments.
//!
//! MAC approximates the curvature of a layer's input side, `A = E[a aᵀ]` with `a = [x ; 1]` (no 1 without a bias), by `ā āᵀ + ρ I`.
//! That is right to the degree to which `A` has one large eigenvalue whose eigenvector is the direction of the mean `ā`. The rows of
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
//! # How to read it
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
//! The 1 of a bias is an input as any other, so that a layer with small inputs has a mean that explains most, by the bias. The
//! mean is that of the rows; for a value projection MAC has the product of the averages over a batch in its place
//! ([`MacMultiHeadAttention`](crate::MacMultiHeadAttention)).
//!
//! Sums are in the type of the inputs, but at least in `f32`, so that eigenvalues of less than `1e-6 λ₁` are rounding, and may be
//! negative. They are found on the host in `f64`, in a time that grows with the cube of a layer's size: seconds for a thousand.

use crate::statistics::moments::{Moment, moments_of};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use std::fmt;

/// The spectra of the layers of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// A layer each, or more of one with several means, in the order of the model.
    pub layers: Vec<LayerSpectrum>,
}

/// The spectrum of a layer's inputs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerSpectrum {
    /// The path of the layer.
    pub path: String,
    /// The part of the layer's inputs that it is of.
    pub part: InputPart,
    /// The number of inputs, and 1 with a bias.
    pub size: usize,
    /// The rows that were seen.
    pub rows: usize,
    /// The eigenvalues of `E[a aᵀ]`, the largest first.
    pub eigenvalues: Vec<f64>,
    /// The squared cosine between the first eigenvector and the mean `ā`; 0 if the mean is 0.
    pub alignment: f64,
    /// `‖ā‖² / E‖a‖²`; 0 if all inputs are 0.
    pub mean_share: f64,
    /// Of attended inputs, `n ‖ᾱ‖² / ‖Ā‖²` of the probabilities averaged over samples and heads, see [the
    /// module](self#how-to-read-it); none for others, and where batches had other numbers of tokens.
    pub attention_share: Option<f64>,
}

/// A part of a layer's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputPart {
    /// All of them: rows, tokens or patches.
    All,
    /// The patches of a group of channels.
    Group(usize),
    /// The values through attention, as the value projection sees them.
    Attended,
}

impl Spectrum {
    /// Measures the inputs of all layers with recorders, or with such that are [off](crate::unrecorded), in the forward passes that
    /// `passes` runs in this thread. These count for no optimizer. Padded tokens are measured too.
    ///
    /// A model that trains is measured as it trains: dropout drops, and the running statistics of a batch norm move. To measure
    /// without, hand over `model.valid()`.
    pub fn of<B: Backend, M: Module<B>>(module: &M, passes: impl FnOnce(&M)) -> Self {
        let moments = moments_of::<B>(|| passes(module));
        let mut weights = Paths::default();
        module.visit(&mut weights);
        // In the order of the module.
        let layers = weights.found.iter().flat_map(|(id, path)| {
            let own = moments.iter().filter(|moment| moment.layer.weight == *id);
            own.flat_map(|moment| layer_spectra(path, moment))
        });
        Self {
            layers: layers.collect(),
        }
    }
}

/// The parameters of a module, with the paths of their layers.
#[derive(Default)]
struct Paths {
    path: Vec<String>,
    found: Vec<(ParamId, String)>,
}

impl<B: Backend> ModuleVisitor<B> for Paths {
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
        self.found.push((param.id, layer.join(".")));
    }
}

fn layer_spectra<B: Backend>(path: &str, moment: &Moment<B>) -> Vec<LayerSpectrum> {
    let [groups, width, _] = moment.sum.dims();
    let rows = moment.rows.max(1) as f64;
    let elements = moment.sum.to_data().iter::<f64>().collect::<Vec<_>>();
    let matrices = elements.chunks_exact(width * width).enumerate();
    let spectra = matrices.map(|(group, elements)| {
        let whole = DMatrix::from_row_slice(width, width, elements) / rows;
        let inputs = width - 1 - usize::from(moment.attended);
        let size = inputs + usize::from(moment.layer.bias.is_some());
        let second = whole.view((0, 0), (size, size)).into_owned();
        // The last row, that of the 1, is the mean.
        let mean: DVector<f64> = whole.row(width - 1).columns(0, size).transpose();
        let (norm, trace) = (mean.norm_squared(), second.trace());
        let (eigenvalues, first) = eigen(second);
        let along = first.dot(&mean);
        LayerSpectrum {
            path: path.to_string(),
            part: match (moment.attended, groups) {
                (true, _) => InputPart::Attended,
                (false, 1) => InputPart::All,
                (false, _) => InputPart::Group(group),
            },
            size,
            rows: moment.rows,
            eigenvalues,
            alignment: if norm == 0.0 {
                0.0
            } else {
                along * along / norm
            },
            mean_share: if trace == 0.0 { 0.0 } else { norm / trace },
            attention_share: moment.attention.as_ref().map(attention_share),
        }
    });
    spectra.collect()
}

/// The eigenvalues of a symmetric matrix, the largest first, and the first eigenvector. They are no numbers where an element is none:
/// the search would not end.
fn eigen(matrix: DMatrix<f64>) -> (Vec<f64>, DVector<f64>) {
    let size = matrix.nrows();
    if !matrix.iter().all(|value| value.is_finite()) {
        return (vec![f64::NAN; size], DVector::from_element(size, f64::NAN));
    }
    let eigen = SymmetricEigen::new(matrix);
    let values = &eigen.eigenvalues;
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|left, right| values[*right].total_cmp(&values[*left]));
    let first = eigen.eigenvectors.column(order[0]).into_owned();
    (order.iter().map(|index| values[*index]).collect(), first)
}

/// `n ‖ᾱ‖² / ‖Ā‖²`, where `Ā` has `n` rows with the mean `ᾱ`.
fn attention_share<B: Backend>(attention: &Tensor<B, 2>) -> f64 {
    let [queries, keys] = attention.dims();
    let elements = attention.to_data().iter::<f64>().collect::<Vec<_>>();
    let matrix = DMatrix::from_row_slice(queries, keys, &elements);
    let mean = matrix.row_mean();
    let whole = matrix.norm_squared();
    queries as f64 * mean.norm_squared() / whole
}

impl LayerSpectrum {
    /// `λ₁ / Σ λ`; 0 if all inputs are 0.
    pub fn first_share(&self) -> f64 {
        let sum: f64 = self.eigenvalues.iter().sum();
        if sum == 0.0 {
            0.0
        } else {
            self.eigenvalues[0] / sum
        }
    }

    /// `λ₁ / λ₂`; infinite where the second is not above 0, or there is none.
    pub fn gap(&self) -> f64 {
        match self.eigenvalues.get(1) {
            Some(second) if *second > 0.0 => self.eigenvalues[0] / second,
            _ => f64::INFINITY,
        }
    }
}

impl fmt::Display for InputPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::Group(group) => f.pad(&format!("group {group}")),
            Self::Attended => f.pad("attended"),
        }
    }
}

/// A table, a layer each line.
impl fmt::Display for Spectrum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.layers.iter().map(|layer| layer.path.len());
        let width = names.max().unwrap_or(0).max("layer".len());
        write!(
            f,
            "{:width$}  {:8}  {:>5}  share of λ₁  {:>8}   cos²  mean's share  attention",
            "layer", "inputs", "size", "λ₁ / λ₂"
        )?;
        for layer in &self.layers {
            let attention = layer.attention_share;
            let attention = attention.map_or_else(String::new, |share| format!("{share:9.3}"));
            let line = format!(
                "{:width$}  {:8}  {:>5}  {:>11.3}  {:>8.1}  {:>5.3}  {:>12.3}  {attention}",
                layer.path,
                layer.part,
                layer.size,
                layer.first_share(),
                layer.gap(),
                layer.alignment,
                layer.mean_share,
            );
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}
