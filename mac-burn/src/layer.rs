//! The parameters of a layer, and how its weight is laid out.

use burn::module::{Param, ParamId};
use burn::nn::Linear;
use burn::nn::conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

/// Layout of a weight. New ones come last: records in formats without names know them by their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LayerKind {
    /// Weight `[size_input, size_output]`.
    Linear,
    /// Weight `[size_input, 3 · size]` of a projection to queries, keys and values, in this order. It has two
    /// means: that of the tokens, and the attention-weighted one for the values.
    FusedAttention,
    /// The same with fewer key and value heads than query heads: the last columns are those of the values.
    GroupedQueryAttention {
        /// Columns of the values.
        value_columns: usize,
    },
    /// Weight `[channels_out, channels_in / groups, kernel_height, kernel_width]`. Each group of channels has a mean of its own.
    Conv2d { groups: usize },
    /// Weight `[channels_out, channels_in / groups, kernel]`.
    Conv1d { groups: usize },
    /// Weight `[channels_out, channels_in / groups, kernel_depth, kernel_height, kernel_width]`.
    Conv3d { groups: usize },
    /// Weight `[channels_in, channels_out / groups, kernel]`. Its inputs are the channels of a position; its outputs are those of the patch
    /// that the position adds to.
    ConvTranspose1d { groups: usize },
    /// Weight `[channels_in, channels_out / groups, kernel_height, kernel_width]`.
    ConvTranspose2d { groups: usize },
    /// Weight `[channels_in, channels_out / groups, kernel_depth, kernel_height, kernel_width]`.
    ConvTranspose3d { groups: usize },
    /// Weight `[tokens, size_output]`, of which a token selects a row.
    Embedding,
    /// Weight `[size_output, size_input]`, whose transpose inputs are multiplied by.
    TransposedLinear,
}

impl LayerKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linear => "Linear",
            Self::FusedAttention | Self::GroupedQueryAttention { .. } => "Linear (qkv)",
            Self::Conv1d { .. } => "Conv1d",
            Self::Conv2d { .. } => "Conv2d",
            Self::Conv3d { .. } => "Conv3d",
            Self::ConvTranspose1d { .. } => "ConvTranspose1d",
            Self::ConvTranspose2d { .. } => "ConvTranspose2d",
            Self::ConvTranspose3d { .. } => "ConvTranspose3d",
            Self::Embedding => "Embedding",
            Self::TransposedLinear => "Linear (transposed)",
        }
    }

    /// Whether it is one projection to queries, keys and values.
    pub(crate) fn is_fused(self) -> bool {
        matches!(
            self,
            Self::FusedAttention | Self::GroupedQueryAttention { .. }
        )
    }

    /// Whether its weight begins with the outputs, and inputs come last: that of a transposed linear layer, or of a convolution that is not.
    pub(crate) fn has_outputs_first(self) -> bool {
        matches!(
            self,
            Self::Conv1d { .. }
                | Self::Conv2d { .. }
                | Self::Conv3d { .. }
                | Self::TransposedLinear
        )
    }

    /// Groups of channels, 1 of what is no convolution.
    pub(crate) fn groups(self) -> usize {
        match self {
            Self::Linear
            | Self::FusedAttention
            | Self::GroupedQueryAttention { .. }
            | Self::Embedding
            | Self::TransposedLinear => 1,
            Self::Conv1d { groups }
            | Self::Conv2d { groups }
            | Self::Conv3d { groups }
            | Self::ConvTranspose1d { groups }
            | Self::ConvTranspose2d { groups }
            | Self::ConvTranspose3d { groups } => groups,
        }
    }

    /// The kind in whose layout its gradient is taken: a convolution over other than two axes is one over two with as many numbers in a kernel;
    /// a transposed one is a linear map from the channels of a position to a patch, in groups the 1 × 1 convolution that this is, and so is a
    /// transposed linear layer.
    pub(crate) fn of_gradient(self) -> Self {
        match self {
            Self::Linear
            | Self::FusedAttention
            | Self::GroupedQueryAttention { .. }
            | Self::Conv2d { .. }
            | Self::Embedding => self,
            Self::Conv1d { groups } | Self::Conv3d { groups } => Self::Conv2d { groups },
            Self::TransposedLinear => Self::Conv2d { groups: 1 },
            Self::ConvTranspose1d { groups }
            | Self::ConvTranspose2d { groups }
            | Self::ConvTranspose3d { groups } => match groups {
                1 => Self::Linear,
                _ => Self::Conv2d { groups },
            },
        }
    }

    /// The number of means that a layer keeps.
    pub(crate) fn means(self) -> usize {
        match self.is_fused() {
            true => 2,
            false => self.groups(),
        }
    }

    /// The number of means of a layer with a weight of this shape, and the elements of each.
    pub(crate) fn means_and_size(self, weight: &[usize]) -> (usize, usize) {
        let size = match self.has_outputs_first() {
            true => weight[1..].iter().product(),
            false => weight[0] / self.groups(),
        };
        (self.means(), size)
    }

    /// The axes of a convolution's images, 0 of what is no convolution.
    pub(crate) fn axes(self) -> usize {
        match self {
            Self::Linear
            | Self::FusedAttention
            | Self::GroupedQueryAttention { .. }
            | Self::Embedding
            | Self::TransposedLinear => 0,
            Self::Conv1d { .. } | Self::ConvTranspose1d { .. } => 1,
            Self::Conv2d { .. } | Self::ConvTranspose2d { .. } => 2,
            Self::Conv3d { .. } | Self::ConvTranspose3d { .. } => 3,
        }
    }

    /// Whether a weight of this shape has this layout.
    pub(crate) fn fits(self, weight: &[usize]) -> bool {
        weight.len() == 2 + self.axes()
            && match self {
                Self::Linear | Self::Embedding | Self::TransposedLinear => true,
                Self::FusedAttention => weight[1].is_multiple_of(3),
                Self::GroupedQueryAttention { value_columns } => value_columns <= weight[1],
                _ => self.groups() > 0 && weight[0].is_multiple_of(self.groups()),
            }
    }

    /// The number of outputs of a layer with a weight of this shape.
    pub(crate) fn size_output(self, weight: &[usize]) -> usize {
        match self.has_outputs_first() {
            true => weight[0],
            false => self.groups() * weight[1..].iter().product::<usize>(),
        }
    }

    /// The blocks of so many outputs: the projections to queries, keys and values are one each.
    pub(crate) fn output_blocks(self, size_output: usize) -> Vec<OutputBlock> {
        let Some(values) = self.value_columns(size_output) else {
            return vec![OutputBlock {
                start: 0,
                outputs: size_output,
                mean: 0,
                index: 0,
            }];
        };
        // As wide as values, where nothing tells keys from queries.
        let keys = values.min(size_output - values);
        let queries = size_output - values - keys;
        let parts = [
            (0, queries, 0),
            (queries, keys, 0),
            (queries + keys, values, 1),
        ];
        let parts = parts.into_iter().filter(|(_, outputs, _)| *outputs > 0);
        let blocks = parts
            .enumerate()
            .map(|(index, (start, outputs, mean))| OutputBlock {
                start,
                outputs,
                mean,
                index,
            });
        blocks.collect()
    }

    /// The columns of a fused projection that project to values, of so many in all.
    pub(crate) fn value_columns(self, size_output: usize) -> Option<usize> {
        match self {
            Self::FusedAttention => Some(size_output / 3),
            Self::GroupedQueryAttention { value_columns } => Some(value_columns),
            _ => None,
        }
    }
}

/// Outputs of a layer that have their inputs in common, and their curvature on the output side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutputBlock {
    /// The first of the outputs.
    pub(crate) start: usize,
    pub(crate) outputs: usize,
    /// The first of the layer's means that they have.
    pub(crate) mean: usize,
    /// The position among the layer's blocks.
    pub(crate) index: usize,
}

/// The parameters that a layer's statistics precondition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) kind: LayerKind,
    pub(crate) weight: ParamId,
    pub(crate) bias: Option<ParamId>,
}

/// A [`Layer`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    kind: LayerKind,
    weight: String,
    bias: Option<String>,
}

impl LayerRecord {
    /// The layer; none if an id is damaged.
    pub(crate) fn layer(&self) -> Option<Layer> {
        Some(Layer {
            kind: self.kind,
            weight: ParamId::try_deserialize(&self.weight)?,
            bias: match &self.bias {
                Some(bias) => Some(ParamId::try_deserialize(bias)?),
                None => None,
            },
        })
    }
}

impl Layer {
    pub(crate) fn to_record(self) -> LayerRecord {
        LayerRecord {
            kind: self.kind,
            weight: self.weight.serialize(),
            bias: self.bias.map(|bias| bias.serialize()),
        }
    }

    pub(crate) fn linear<B: Backend>(layer: &Linear<B>) -> Self {
        Self::matrix(LayerKind::Linear, &layer.weight, layer.bias.as_ref())
    }

    /// A layer with a weight `[size_input, size_output]`.
    pub(crate) fn matrix<B: Backend>(
        kind: LayerKind,
        weight: &Param<Tensor<B, 2>>,
        bias: Option<&Param<Tensor<B, 1>>>,
    ) -> Self {
        Self::of(kind, weight, bias)
    }

    fn of<B: Backend, const D: usize>(
        kind: LayerKind,
        weight: &Param<Tensor<B, D>>,
        bias: Option<&Param<Tensor<B, 1>>>,
    ) -> Self {
        Self {
            kind,
            weight: weight.id,
            bias: bias.map(|bias| bias.id),
        }
    }

    pub(crate) fn embedding<B: Backend>(weight: &Param<Tensor<B, 2>>) -> Self {
        Self::matrix(LayerKind::Embedding, weight, None)
    }

    pub(crate) fn conv1d<B: Backend>(layer: &Conv1d<B>) -> Self {
        let kind = LayerKind::Conv1d {
            groups: layer.groups,
        };
        Self::of(kind, &layer.weight, layer.bias.as_ref())
    }

    pub(crate) fn conv2d<B: Backend>(layer: &Conv2d<B>) -> Self {
        let kind = LayerKind::Conv2d {
            groups: layer.groups,
        };
        Self::of(kind, &layer.weight, layer.bias.as_ref())
    }

    pub(crate) fn conv3d<B: Backend>(layer: &Conv3d<B>) -> Self {
        let kind = LayerKind::Conv3d {
            groups: layer.groups,
        };
        Self::of(kind, &layer.weight, layer.bias.as_ref())
    }

    /// Without the bias, which is added at each output position and not at each position of the input: it is no input of the weight.
    pub(crate) fn conv_transpose1d<B: Backend>(layer: &ConvTranspose1d<B>) -> Self {
        let kind = LayerKind::ConvTranspose1d {
            groups: layer.groups,
        };
        Self::of(kind, &layer.weight, None)
    }

    /// Without the bias, as above.
    pub(crate) fn conv_transpose2d<B: Backend>(layer: &ConvTranspose2d<B>) -> Self {
        let kind = LayerKind::ConvTranspose2d {
            groups: layer.groups,
        };
        Self::of(kind, &layer.weight, None)
    }

    /// Without the bias, as above.
    pub(crate) fn conv_transpose3d<B: Backend>(layer: &ConvTranspose3d<B>) -> Self {
        let kind = LayerKind::ConvTranspose3d {
            groups: layer.groups,
        };
        Self::of(kind, &layer.weight, None)
    }

    /// The same with its bias, or without.
    pub(crate) fn with_bias_if(self, keep: bool) -> Self {
        Self {
            bias: self.bias.filter(|_| keep),
            ..self
        }
    }

    /// Whether both are the same map of a weight, so that their statistics add up: a bias adds a 1 to the inputs of both or of neither.
    pub(crate) fn is_same_map(&self, other: &Self) -> bool {
        self.weight == other.weight
            && self.kind == other.kind
            && self.bias.is_some() == other.bias.is_some()
    }

    /// The ids of the parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = ParamId> {
        [Some(self.weight), self.bias].into_iter().flatten()
    }
}
