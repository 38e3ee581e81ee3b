//! The statistics that curvatures are made of.

use super::activation_sums::ActivationSums;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};

/// The rows of a layer that applies its weight at several places of a sample: at the positions of a convolution, to the tokens of a
/// sequence (Eschenhagen et al. 2023, "Kronecker-Factored Approximate Curvature for Modern Neural Network Architectures").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WeightSharing {
    /// Each place is a row.
    #[default]
    Expand,
    /// A sample is a row: the mean over its places of the inputs, and the sum over them of the gradients at the outputs.
    Reduce,
}

/// A statistic of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statistic {
    /// `Σ a` and `Σ x²` of the inputs, as [`ActivationSums`].
    Activations,
    /// `Σ a aᵀ` of the inputs.
    InputMoments(WeightSharing),
    /// `Σ g` of the gradients at the outputs.
    OutputGradients,
    /// `Σ g²` of the gradients at the outputs.
    OutputSquares,
    /// `Σ g gᵀ` of the gradients at the outputs, over rows or of the sum over each sample's.
    OutputMoments(WeightSharing),
}

/// The number of statistics.
pub(crate) const STATISTICS: usize = 7;

impl Statistic {
    pub(crate) const ALL: [Self; STATISTICS] = [
        Self::Activations,
        Self::InputMoments(WeightSharing::Expand),
        Self::InputMoments(WeightSharing::Reduce),
        Self::OutputGradients,
        Self::OutputSquares,
        Self::OutputMoments(WeightSharing::Expand),
        Self::OutputMoments(WeightSharing::Reduce),
    ];

    fn is_of_outputs(self) -> bool {
        !matches!(self, Self::Activations | Self::InputMoments(_))
    }
}

/// The statistics that an optimizer asks of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Demand(pub(super) [bool; STATISTICS]);

impl Demand {
    /// These statistics.
    pub(crate) fn of(statistics: &[Statistic]) -> Self {
        Self(Statistic::ALL.map(|statistic| statistics.contains(&statistic)))
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn has(self, statistic: Statistic) -> bool {
        let mut all = Statistic::ALL.into_iter().zip(self.0);
        all.any(|(found, asked)| asked && found == statistic)
    }

    pub(crate) fn statistics(self) -> impl Iterator<Item = Statistic> {
        let all = Statistic::ALL.into_iter().zip(self.0);
        all.filter_map(|(statistic, asked)| asked.then_some(statistic))
    }

    /// The statistics of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] || other.0[index]))
    }

    /// The statistics of the gradients at the outputs.
    pub(crate) fn of_outputs(self) -> Self {
        self.only(Statistic::is_of_outputs)
    }

    fn only(self, keeps: impl Fn(Statistic) -> bool) -> Self {
        let statistics: Vec<_> = self.statistics().filter(|found| keeps(*found)).collect();
        Self::of(&statistics)
    }
}

/// The statistics of a layer's passes, as far as they were asked for.
#[derive(Debug, Clone)]
pub(crate) struct LayerStatistics<B: Backend> {
    pub(crate) activations: Option<ActivationSums<B>>,
    /// The others.
    sums: Vec<(Statistic, Sums<B>)>,
}

/// A sum over rows, in parts: one of a `Linear`, and of a `Conv2d`, whose groups are the first axis. Of a projection to queries, keys and
/// values those of inputs are two, tokens and what comes through attention, and those of outputs one for each of its
/// [blocks](crate::layer::LayerKind::output_blocks).
#[derive(Debug, Clone)]
pub(crate) struct Sums<B: Backend> {
    pub(crate) parts: Vec<Part<B>>,
    /// The samples of all passes.
    pub(crate) samples: usize,
    /// The rows of all samples, padding among them.
    pub(crate) rows: usize,
}

/// A part of [`Sums`].
#[derive(Debug, Clone)]
pub(crate) struct Part<B: Backend> {
    /// `[groups, size, size]`, or `[groups, 1, size]` of vectors.
    pub(crate) sum: Tensor<B, 3>,
    /// The number of rows that count, `[1, 1, 1]`.
    pub(crate) count: Tensor<B, 3>,
}

impl<B: Backend> LayerStatistics<B> {
    pub(crate) fn none() -> Self {
        Self {
            activations: None,
            sums: Vec::new(),
        }
    }

    pub(crate) fn get(&self, statistic: Statistic) -> Option<&Sums<B>> {
        let found = self.sums.iter().find(|(known, _)| *known == statistic);
        found.map(|(_, sums)| sums)
    }

    /// Adds sums of a statistic.
    pub(crate) fn insert(&mut self, statistic: Statistic, new: Sums<B>) {
        let known = self.sums.iter_mut().find(|(known, _)| *known == statistic);
        match known {
            Some((_, sums)) => *sums = sums.clone().add(new),
            None => self.sums.push((statistic, new)),
        }
    }

    /// Puts the sums of a further part of the layer beside those that are there.
    pub(crate) fn insert_part(&mut self, statistic: Statistic, new: Sums<B>) {
        let known = self.sums.iter_mut().find(|(known, _)| *known == statistic);
        match known {
            Some((_, sums)) => sums.parts.extend(new.parts),
            None => self.sums.push((statistic, new)),
        }
    }

    /// Whether it holds matrices, which are as large as a weight or larger.
    pub(crate) fn holds_matrices(&self) -> bool {
        let kinds = self.sums.iter().map(|(statistic, _)| *statistic);
        kinds.into_iter().any(|statistic| {
            matches!(
                statistic,
                Statistic::InputMoments(_) | Statistic::OutputMoments(_)
            )
        })
    }

    /// Whether no row was summed, as far as the host knows.
    pub(crate) fn is_empty(&self) -> bool {
        let activations = self.activations.as_ref();
        activations.is_none_or(ActivationSums::is_empty)
            && self.sums.iter().all(|(_, sums)| sums.rows == 0)
    }

    /// The statistics of both, each over the passes that have it.
    pub(crate) fn add(mut self, other: Self) -> Self {
        self.activations = match (self.activations, other.activations) {
            (Some(left), Some(right)) => Some(left.add(right)),
            (left, right) => left.or(right),
        };
        for (statistic, sums) in other.sums {
            self.insert(statistic, sums);
        }
        self
    }

    /// A device that holds some of them; none if there are none.
    pub(crate) fn device(&self) -> Option<B::Device> {
        let activations = self.activations.as_ref();
        let activations = activations.map(|sums| sums.inputs.device());
        let part = || Some(self.sums.first()?.1.parts.first()?.sum.device());
        activations.or_else(part)
    }

    pub(crate) fn on_device(self, device: &B::Device) -> Self {
        let activations = self.activations;
        Self {
            activations: activations.map(|sums| sums.on_device(device)),
            sums: map_sums(self.sums, |tensor| tensor.to_device(device)),
        }
    }
}

impl<B: AutodiffBackend> LayerStatistics<B> {
    pub(crate) fn inner(self) -> LayerStatistics<B::InnerBackend> {
        LayerStatistics {
            activations: self.activations.map(ActivationSums::inner),
            sums: map_sums(self.sums, Tensor::inner),
        }
    }
}

fn map_sums<B: Backend, C: Backend>(
    sums: Vec<(Statistic, Sums<B>)>,
    map: impl Fn(Tensor<B, 3>) -> Tensor<C, 3>,
) -> Vec<(Statistic, Sums<C>)> {
    let sums = sums.into_iter();
    sums.map(|(statistic, sums)| (statistic, sums.map(&map)))
        .collect()
}

impl<B: Backend> Sums<B> {
    pub(crate) fn map<C: Backend>(self, map: impl Fn(Tensor<B, 3>) -> Tensor<C, 3>) -> Sums<C> {
        let parts = self.parts.into_iter().map(|part| Part {
            sum: map(part.sum),
            count: map(part.count),
        });
        Sums {
            parts: parts.collect(),
            samples: self.samples,
            rows: self.rows,
        }
    }

    pub(crate) fn add(self, other: Self) -> Self {
        let parts = self.parts.into_iter().zip(other.parts);
        Self {
            parts: parts.map(|(left, right)| left.add(right)).collect(),
            samples: self.samples + other.samples,
            rows: self.rows + other.rows,
        }
    }
}

impl<B: Backend> Part<B> {
    /// Of so many rows.
    pub(crate) fn counted(sum: Tensor<B, 3>, rows: usize) -> Self {
        let options = (&sum.device(), sum.dtype());
        Self {
            count: Tensor::full([1, 1, 1], rows as f64, options),
            sum,
        }
    }

    pub(crate) fn add(self, other: Self) -> Self {
        Self {
            sum: self.sum + other.sum,
            count: self.count + other.count,
        }
    }
}
