//! The inputs of layers.

use super::{Parameters, eigen};
use crate::layer::Layer;
use crate::statistics::moments::{Moment, moments_of};
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use nalgebra::{DMatrix, DVector};
use std::fmt;

/// The spectra of the inputs of a model's layers.
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
    /// module](super#how-to-read-it); none for others, and where batches had other numbers of tokens.
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
        let moments = moments.into_iter().map(|moment| (moment.layer, moment));
        let parameters = Parameters::of(module);
        let moments = parameters.with_known_layers(moments.collect());
        // In the order of the module.
        let layers = parameters.found.iter().flat_map(|parameter| {
            let own = moments.iter();
            let own = own.filter(|(layer, _)| layer.weight == parameter.id);
            let spectra =
                own.flat_map(|(layer, moment)| layer_spectra(&parameter.layer, *layer, moment));
            spectra.collect::<Vec<_>>()
        });
        Self {
            layers: layers.collect(),
        }
    }
}

fn layer_spectra<B: Backend>(path: &str, layer: Layer, moment: &Moment<B>) -> Vec<LayerSpectrum> {
    let [groups, width, _] = moment.sum.dims();
    let rows = moment.rows.max(1) as f64;
    let elements = moment.sum.to_data().iter::<f64>().collect::<Vec<_>>();
    let matrices = elements.chunks_exact(width * width).enumerate();
    let spectra = matrices.map(|(group, elements)| {
        let whole = DMatrix::from_row_slice(width, width, elements) / rows;
        let inputs = width - 1 - usize::from(moment.attended);
        let size = inputs + usize::from(layer.bias.is_some());
        let second = whole.view((0, 0), (size, size)).into_owned();
        // The last row, that of the 1, is the mean.
        let mean: DVector<f64> = whole.row(width - 1).columns(0, size).transpose();
        let (norm, trace) = (mean.norm_squared(), second.trace());
        let (eigenvalues, vectors) = eigen(second);
        let along = vectors.column(0).dot(&mean);
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
