//! The gradients at the outputs of layers.

use super::{Parameter, Parameters, eigen};
use crate::curvature::LayerGradient;
use crate::layer::{Layer, LayerKind, OutputBlock};
use crate::statistics::moments::gradient_moments_of;
use crate::statistics::{Part, Sums, enable_backward_hook};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use nalgebra::DMatrix;
use std::fmt;

/// The damping of the table's last column, as a share of the mean eigenvalue.
pub const DAMPING: f64 = 0.01;

/// The spectra of the gradients at the outputs of a model's layers.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSpectrum {
    /// A layer each, or more of one with groups or several projections, in the order of the model.
    pub layers: Vec<LayerOutputSpectrum>,
}

/// The spectrum of the gradients at a layer's outputs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerOutputSpectrum {
    /// The path of the layer.
    pub path: String,
    /// The part of the layer's outputs that it is of.
    pub part: OutputPart,
    /// The number of outputs.
    pub size: usize,
    /// The rows that were seen: samples, positions or tokens, without padding.
    pub rows: usize,
    /// The eigenvalues of `P = E[g gᵀ]`, the largest first; 0 where they [may be rounding](super#what-is-measured).
    pub eigenvalues: Vec<f64>,
    /// `‖uᵀG‖²` for the eigenvector `u` of each eigenvalue, with the gradient `G` of the layer's parameters; none if there is no gradient
    /// of the weight among those that were returned.
    pub gradient_squares: Option<Vec<f64>>,
}

/// A part of a layer's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputPart {
    /// All of them.
    All,
    /// The channels of a group.
    Group(usize),
    /// The queries of a projection to queries, keys and values.
    Queries,
    /// Its keys.
    Keys,
    /// Its values.
    Values,
}

impl OutputSpectrum {
    /// Measures the gradients at the outputs of all layers with recorders, or with such that are [off](crate::unrecorded), in the backward
    /// passes that `passes` runs through forward passes in this thread. These count for no optimizer. Layers that gradients do not reach
    /// are left out, and so are padded tokens. On a backend that differentiates by other means than Burn's `Autodiff` there are none.
    ///
    /// `passes` returns the gradients of the parameters, added up over its backward passes.
    pub fn of<B: AutodiffBackend, M: Module<B>>(
        module: &M,
        passes: impl FnOnce(&M) -> GradientsParams,
    ) -> Self {
        enable_backward_hook::<B, B::InnerBackend>();
        let mut grads = GradientsParams::new();
        let sums = gradient_moments_of::<B>(|| grads = passes(module));
        let parameters = Parameters::of(module);
        let mut moments = Vec::<Moments>::new();
        for (layer, sums) in parameters.with_known_layers(sums) {
            match moments.iter_mut().find(|known| known.layer == layer) {
                Some(known) => known.add(&sums),
                None => moments.extend(Moments::new(layer, &sums)),
            }
        }
        // In the order of the module.
        let mut layers = Vec::new();
        for parameter in &parameters.found {
            let own = moments.iter();
            for moments in own.filter(|moments| moments.layer.weight == parameter.id) {
                let gradient = moments.gradient::<B::InnerBackend>(&mut grads);
                layers.extend(moments.spectra(parameter, gradient.as_deref()));
            }
        }
        Self { layers }
    }
}

/// The second moments `Σ g gᵀ` of a layer, on the host: there they add up in `f64`, and from any device.
struct Moments {
    layer: Layer,
    /// The type of the sums.
    dtype: DType,
    parts: Vec<PartMoments>,
}

/// The second moments of a block of outputs.
struct PartMoments {
    /// A matrix for each group.
    sums: Vec<DMatrix<f64>>,
    /// The number of rows that count.
    rows: f64,
}

impl Moments {
    /// None without rows.
    fn new<B: Backend>(layer: Layer, sums: &Sums<B>) -> Option<Self> {
        let dtype = sums.parts.first()?.sum.dtype();
        (sums.rows > 0).then(|| Self {
            layer,
            dtype,
            parts: sums.parts.iter().map(PartMoments::read).collect(),
        })
    }

    fn add<B: Backend>(&mut self, new: &Sums<B>) {
        if new.rows == 0 {
            return;
        }
        for (known, new) in self.parts.iter_mut().zip(&new.parts) {
            let new = PartMoments::read(new);
            known.rows += new.rows;
            for (sum, new) in known.sums.iter_mut().zip(new.sums) {
                *sum += new;
            }
        }
    }

    /// The gradient of each block, output index first, by group; none if the weight has none.
    fn gradient<B: Backend>(&self, grads: &mut GradientsParams) -> Option<Vec<Vec<DMatrix<f64>>>> {
        let layer = self.layer;
        let gradient = LayerGradient::<B>::take(layer, grads)?;
        let groups = self.parts.first()?.sums.len();
        let rows = gradient.to_rows(groups, layer.bias.is_some());
        let blocks = layer.kind.output_blocks(gradient.size_output());
        // For another layer that has the weight too.
        gradient.put(layer, grads);
        let blocks = blocks.into_iter().map(|block| match layer.kind.groups() {
            1 => matrices(&rows.clone().narrow(1, block.start, block.outputs)),
            // All outputs are one block, which the rows have by group.
            _ => matrices(&rows),
        });
        Some(blocks.collect())
    }

    fn spectra(
        &self,
        weight: &Parameter,
        gradient: Option<&[Vec<DMatrix<f64>>]>,
    ) -> Vec<LayerOutputSpectrum> {
        let sizes = self.parts.iter().flat_map(|part| &part.sums);
        let size_output = sizes.map(DMatrix::nrows).sum();
        let blocks = self.layer.kind.output_blocks(size_output);
        let mut spectra = Vec::new();
        for (block, part) in blocks.into_iter().zip(&self.parts) {
            for (group, sum) in part.sums.iter().enumerate() {
                let size = sum.nrows();
                let (mut eigenvalues, vectors) = eigen(sum / part.rows.max(1.0));
                let least = rounding(size, part.rows, self.dtype, weight.dtype);
                let least = least * eigenvalues.first().copied().unwrap_or(0.0);
                // NaN stays.
                for value in eigenvalues.iter_mut().filter(|value| **value < least) {
                    *value = 0.0;
                }
                let gradient = gradient.and_then(|blocks| blocks.get(block.index)?.get(group));
                let gradient_squares = gradient.map(|gradient| {
                    let along = vectors.tr_mul(gradient);
                    along.row_iter().map(|row| row.norm_squared()).collect()
                });
                spectra.push(LayerOutputSpectrum {
                    path: weight.layer.clone(),
                    part: match self.layer.kind.groups() {
                        1 => part_of(self.layer.kind, block, size_output),
                        _ => OutputPart::Group(group),
                    },
                    size,
                    rows: part.rows.round() as usize,
                    eigenvalues,
                    gradient_squares,
                });
            }
        }
        spectra
    }
}

impl PartMoments {
    fn read<B: Backend>(part: &Part<B>) -> Self {
        let count = part.count.to_data().iter::<f64>().next();
        Self {
            sums: matrices(&part.sum),
            rows: count.unwrap_or(0.0),
        }
    }
}

/// The matrices of `[groups, rows, columns]`, on the host.
fn matrices<B: Backend>(tensor: &Tensor<B, 3>) -> Vec<DMatrix<f64>> {
    let [_, rows, columns] = tensor.dims();
    let elements = tensor.to_data().iter::<f64>().collect::<Vec<_>>();
    let matrices = elements.chunks_exact((rows * columns).max(1));
    matrices
        .map(|elements| DMatrix::from_row_slice(rows, columns, elements))
        .collect()
}

/// A bound of what rounding makes of an eigenvalue that is 0, as a share of the largest.
fn rounding(size: usize, rows: f64, sums: DType, gradients: DType) -> f64 {
    let epsilon = |dtype: DType| dtype.finfo().map_or(0.0, |info| info.epsilon);
    // Roundings of a sum add up as a random walk, beside a few of single numbers. Those of gradients are independent of each other, so
    // that their squares are what they add to each eigenvalue.
    let of_sums = epsilon(sums) * (8.0 + rows.max(size as f64).sqrt());
    of_sums.max(epsilon(gradients).powi(2))
}

/// The part that a block is, of so many outputs.
fn part_of(kind: LayerKind, block: OutputBlock, size_output: usize) -> OutputPart {
    let end = block.start + block.outputs;
    match kind.value_columns(size_output) {
        None => OutputPart::All,
        Some(_) if end == size_output => OutputPart::Values,
        Some(values) if end == size_output - values => OutputPart::Keys,
        Some(_) => OutputPart::Queries,
    }
}

impl LayerOutputSpectrum {
    /// The number of eigenvalues that are above 0.
    pub fn rank(&self) -> usize {
        let values = self.eigenvalues.iter();
        values.filter(|value| **value > 0.0).count()
    }

    /// `λ₁ / λₙ` of all `n` eigenvalues; infinite where the last is 0, NaN where all are.
    pub fn condition(&self) -> f64 {
        self.condition_of(self.size)
    }

    /// `λ₁ / λᵣ` of the `r` eigenvalues that are above 0; NaN where none is.
    pub fn condition_of_range(&self) -> f64 {
        self.condition_of(self.rank())
    }

    /// The condition of the largest eigenvalues.
    fn condition_of(&self, count: usize) -> f64 {
        let values = &self.eigenvalues[..count];
        let ends = values.first().zip(values.last());
        ends.map_or(f64::NAN, |(first, last)| first / last)
    }

    /// `cos((P + δ I)⁻¹G, G)`, where `δ` is `damping`, which is at least 0, times the mean eigenvalue. Without damping it is that of the
    /// pseudo-inverse, `cos(P⁺G, G)`.
    ///
    /// None if there is no gradient, or either of the two is 0.
    pub fn cosine(&self, damping: f64) -> Option<f64> {
        let squares = self.gradient_squares.as_ref()?;
        let mean = self.eigenvalues.iter().sum::<f64>() / self.size as f64;
        let (mut product, mut length) = (0.0, 0.0);
        for (value, square) in self.eigenvalues.iter().zip(squares) {
            let damped = value + damping * mean;
            // Not `> 0`: NaN is to be seen.
            if damped != 0.0 {
                product += square / damped;
                length += square / (damped * damped);
            }
        }
        let norms = (length * squares.iter().sum::<f64>()).sqrt();
        (norms != 0.0).then(|| product / norms)
    }
}

impl fmt::Display for OutputPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::Group(group) => f.pad(&format!("group {group}")),
            Self::Queries => f.pad("queries"),
            Self::Keys => f.pad("keys"),
            Self::Values => f.pad("values"),
        }
    }
}

/// A table, a layer each line.
impl fmt::Display for OutputSpectrum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.layers.iter().map(|layer| layer.path.len());
        let width = names.max().unwrap_or(0).max("layer".len());
        write!(
            f,
            "{:width$}  {:8}  {:>5}  {:>5}  {:>8}  {:>8}  {:>6}  {:>6}",
            "layer", "outputs", "size", "rank", "λ₁ / λₙ", "λ₁ / λᵣ", "cos", "damped"
        )?;
        for layer in &self.layers {
            let cosine = |damping| {
                let cosine = layer.cosine(damping);
                cosine.map_or_else(String::new, |cosine| format!("{cosine:.3}"))
            };
            let line = format!(
                "{:width$}  {:8}  {:>5}  {:>5}  {:>8.1e}  {:>8.1e}  {:>6}  {:>6}",
                layer.path,
                layer.part,
                layer.size,
                layer.rank(),
                layer.condition(),
                layer.condition_of_range(),
                cosine(0.0),
                cosine(DAMPING),
            );
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}
