use burn::module::{Param, ParamId};
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};

/// How a weight is laid out, which decides the side on which its inputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerKind {
    /// Weight `[size_input, size_output]`.
    Linear,
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
            Self::Conv2d { .. } => "Conv2d",
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

impl LayerParameters {
    pub(crate) fn linear<B: Backend>(
        weight: &Param<Tensor<B, 2>>,
        bias: Option<&Param<Tensor<B, 1>>>,
    ) -> Self {
        Self {
            kind: LayerKind::Linear,
            weight: weight.id,
            bias: bias.map(|bias| bias.id),
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
