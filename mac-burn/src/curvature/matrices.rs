//! The matrices of a weight that a step is made of.

use crate::layer::LayerKind;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Matrices of a weight that have their inputs in common: one, or one for each group of a convolution.
#[derive(Debug, Clone)]
pub(crate) struct Matrices<B: Backend> {
    /// `[groups, inputs, outputs]`, or with the inputs last.
    pub(crate) values: Tensor<B, 3>,
    /// The axis of the inputs: 1 or 2.
    pub(crate) input_axis: usize,
    /// The first of the means that they have.
    pub(super) mean: usize,
}

impl<B: Backend> Matrices<B> {
    /// The matrices of a weight: the projections to queries, keys and values are one each.
    pub(crate) fn of<const D: usize>(kind: LayerKind, weight: Tensor<B, D>) -> Vec<Self> {
        let dims = weight.dims();
        let (_, size) = kind.means_and_size(&dims);
        let outputs = kind.size_output(&dims);
        let groups = kind.groups();
        match kind {
            LayerKind::FusedAttention | LayerKind::GroupedQueryAttention { .. } => {
                let weight = weight.reshape([1, size, outputs]);
                let blocks = kind.output_blocks(outputs).into_iter();
                let matrices = blocks.map(|block| Self {
                    values: weight.clone().narrow(2, block.start, block.outputs),
                    input_axis: 1,
                    mean: block.mean,
                });
                matrices.collect()
            }
            _ if kind.has_outputs_first() => vec![Self {
                values: weight.reshape([groups, outputs / groups, size]),
                input_axis: 2,
                mean: 0,
            }],
            _ => vec![Self {
                values: weight.reshape([groups, size, outputs / groups]),
                input_axis: 1,
                mean: 0,
            }],
        }
    }

    /// The weight of these matrices.
    pub(crate) fn join<const D: usize>(matrices: Vec<Self>, shape: [usize; D]) -> Tensor<B, D> {
        let mut values: Vec<_> = matrices.into_iter().map(|part| part.values).collect();
        match values.len() {
            1 => values.remove(0).reshape(shape),
            _ => Tensor::cat(values, 2).reshape(shape),
        }
    }

    pub(crate) fn map(self, map: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>) -> Self {
        Self {
            values: map(self.values),
            ..self
        }
    }

    /// The rows of a tensor with one for each mean that belong to these matrices.
    pub(super) fn own(&self, of_means: &Tensor<B, 3>) -> Tensor<B, 3> {
        let ([groups, ..], [means, ..]) = (self.values.dims(), of_means.dims());
        match means == groups {
            true => of_means.clone(),
            false => of_means.clone().narrow(0, self.mean, groups),
        }
    }

    /// `diag(s) Y` with a vector of each mean.
    pub(super) fn scaled(self, scale: &Tensor<B, 3>) -> Self {
        let scale = self.own(scale);
        self.map(|values| values * scale)
    }
}
