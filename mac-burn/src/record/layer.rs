use burn::module::{Param, ParamId};
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

/// How a weight is laid out, which decides the side on which its inputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LayerKind {
    /// Weight `[size_input, size_output]`.
    Linear,
    /// Weight `[size_input, 3 · size]`, the columns of queries and keys before those of values. It has
    /// two means: that of the tokens and the attention-weighted one.
    FusedAttention,
    /// Weight `[channels_out, channels_in / groups, kernel_height, kernel_width]`.
    Conv2d {
        /// Groups of channels, each with a mean of its own.
        groups: usize,
    },
}

impl LayerKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linear => "Linear",
            Self::FusedAttention => "Linear (qkv)",
            Self::Conv2d { .. } => "Conv2d",
        }
    }

    /// How many means a layer has.
    pub(crate) fn means(self) -> usize {
        match self {
            Self::Linear => 1,
            Self::FusedAttention => 2,
            Self::Conv2d { groups } => groups,
        }
    }

    /// How many means a layer with a weight of this shape has, and the elements of each.
    pub(crate) fn means_and_size(self, weight: &[usize]) -> (usize, usize) {
        let size = match self {
            Self::Linear | Self::FusedAttention => weight[0],
            Self::Conv2d { .. } => weight[1..].iter().product(),
        };
        (self.means(), size)
    }

    /// Whether a weight of this rank has this layout.
    pub(crate) fn fits(self, weight: &[usize]) -> bool {
        match self {
            Self::Linear | Self::FusedAttention => weight.len() == 2,
            Self::Conv2d { groups } => weight.len() == 4 && groups > 0,
        }
    }

    /// The number of outputs of a layer with a weight of this shape.
    pub(crate) fn size_output(self, weight: &[usize]) -> usize {
        match self {
            Self::Linear | Self::FusedAttention => weight[1],
            Self::Conv2d { .. } => weight[0],
        }
    }
}

/// The parameters whose gradients a layer's statistics precondition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerParameters {
    pub(crate) kind: LayerKind,
    pub(crate) weight: ParamId,
    pub(crate) bias: Option<ParamId>,
}

/// [`LayerParameters`] in a record, where a layer of the user's own is known before its first pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    kind: LayerKind,
    weight: String,
    bias: Option<String>,
}

impl LayerRecord {
    /// The layer; none if an id is damaged.
    pub(crate) fn parameters(&self) -> Option<LayerParameters> {
        Some(LayerParameters {
            kind: self.kind,
            weight: ParamId::try_deserialize(&self.weight)?,
            bias: match &self.bias {
                Some(bias) => Some(ParamId::try_deserialize(bias)?),
                None => None,
            },
        })
    }
}

impl LayerParameters {
    pub(crate) fn to_record(self) -> LayerRecord {
        LayerRecord {
            kind: self.kind,
            weight: self.weight.serialize(),
            bias: self.bias.map(|bias| bias.serialize()),
        }
    }

    pub(crate) fn linear<B: Backend>(layer: &Linear<B>) -> Self {
        Self::linear_of(&layer.weight, layer.bias.as_ref())
    }

    pub(crate) fn linear_of<B: Backend>(
        weight: &Param<Tensor<B, 2>>,
        bias: Option<&Param<Tensor<B, 1>>>,
    ) -> Self {
        Self {
            kind: LayerKind::Linear,
            weight: weight.id,
            bias: bias.map(|bias| bias.id),
        }
    }

    pub(crate) fn fused_attention<B: Backend>(layer: &Linear<B>) -> Self {
        Self {
            kind: LayerKind::FusedAttention,
            ..Self::linear(layer)
        }
    }

    pub(crate) fn conv2d<B: Backend>(layer: &Conv2d<B>) -> Self {
        Self {
            kind: LayerKind::Conv2d {
                groups: layer.groups,
            },
            weight: layer.weight.id,
            bias: layer.bias.as_ref().map(|bias| bias.id),
        }
    }
}
