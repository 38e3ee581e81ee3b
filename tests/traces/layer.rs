//! A layer of a case, built in Burn, and what flows from layer to layer.

use std::{collections::BTreeMap, f64::consts::FRAC_1_SQRT_2};

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig,
        PaddingConfig2d, Relu, Tanh,
        conv::{Conv2d, Conv2dConfig},
        pool::{
            AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, AvgPool2d, AvgPool2dConfig, MaxPool2d,
            MaxPool2dConfig,
        },
    },
    tensor::{Tensor, TensorData, backend::Backend},
};
use mac_burn::{MacConv2d, MacLinear};

use crate::{
    case::{Case, TraceError},
    layer_spec::{
        AvgPool2dSpec, BatchNormSpec, Conv2dSpec, Extent, GeluApproximation, LayerKind,
        LayerNormSpec, LayerSpec, LinearSpec, MaxPool2dSpec, NormalizedShape, Padding,
    },
};

/// The activations between two layers.
#[derive(Clone, Debug)]
pub(crate) enum Signal<B: Backend> {
    /// `[batch, features]`
    Rows(Tensor<B, 2>),
    /// `[batch, tokens, features]`, or `[batch, channels, length]`
    Sequences(Tensor<B, 3>),
    /// `[batch, channels, height, width]`
    Images(Tensor<B, 4>),
}

/// Applies an expression that is generic over the rank, and keeps the rank.
macro_rules! each_rank {
    ($signal:expr, $tensor:ident => $body:expr) => {
        match $signal {
            Signal::Rows($tensor) => Signal::Rows($body),
            Signal::Sequences($tensor) => Signal::Sequences($body),
            Signal::Images($tensor) => Signal::Images($body),
        }
    };
}

impl<B: Backend> Signal<B> {
    /// A network's input, with the rank of the data.
    pub(crate) fn from_data(data: TensorData, device: &B::Device) -> Result<Self, TraceError> {
        let data = data.convert::<B::FloatElem>();

        match data.shape.len() {
            2 => Ok(Self::Rows(Tensor::from_data(data, device))),
            3 => Ok(Self::Sequences(Tensor::from_data(data, device))),
            4 => Ok(Self::Images(Tensor::from_data(data, device))),
            rank => Err(TraceError::Unsupported(format!(
                "an input of rank {rank}, where 2 to 4 are read"
            ))),
        }
    }

    /// The images that a two-dimensional layer needs.
    ///
    /// # Panics
    ///
    /// If the case's layers do not fit together.
    pub(crate) fn into_images(self) -> Tensor<B, 4> {
        match self {
            Self::Images(images) => images,
            other => panic!("a two-dimensional layer was given {other:?}"),
        }
    }

    /// One row for each sample.
    pub(crate) fn flatten(self) -> Tensor<B, 2> {
        match self {
            Self::Rows(tensor) => tensor,
            Self::Sequences(tensor) => tensor.flatten(1, 2),
            Self::Images(tensor) => tensor.flatten(1, 3),
        }
    }

    /// The logits that a network ends with.
    ///
    /// # Panics
    ///
    /// If the case's network does not end with one row for each sample.
    pub(crate) fn into_logits(self) -> Tensor<B, 2> {
        match self {
            Self::Rows(logits) => logits,
            other => panic!("the network ends with {other:?}, not with one row for each sample"),
        }
    }
}

/// A layer of any type that a case may have.
#[derive(Module, Debug)]
pub(crate) enum Layer<B: Backend> {
    Linear(MacLinear<B>),
    Conv2d(MacConv2d<B>),
    PlainLinear(Linear<B>),
    PlainConv2d(Conv2d<B>),
    BatchNorm(BatchNorm<B>),
    LayerNorm(LayerNorm<B>),
    Relu(Relu),
    Gelu(ErfGelu),
    TanhGelu(Gelu),
    Tanh(Tanh),
    AvgPool2d(AvgPool2d),
    MaxPool2d(MaxPool2d),
    AdaptiveAvgPool2d(AdaptiveAvgPool2d),
    Flatten(Flatten),
    Identity(Identity),
}

/// `x Φ(x)`, spelled out: the derivative that Burn 0.21 has for its own `gelu` is, on most backends,
/// that of the tanh approximation, up to 8.7e-4 away (at x = ±2).
#[derive(Module, Clone, Debug)]
pub(crate) struct ErfGelu;

/// Joins all dimensions but the first.
#[derive(Module, Clone, Debug)]
pub(crate) struct Flatten;

/// Passes its input on.
#[derive(Module, Clone, Debug)]
pub(crate) struct Identity;

impl<B: Backend> Layer<B> {
    /// Builds what a case describes; the parameters' values come later, from the trace.
    pub(crate) fn build(spec: &LayerSpec, device: &B::Device) -> Result<Self, TraceError> {
        Ok(match &spec.kind {
            LayerKind::Linear(linear) => Self::Linear(linear.build(device)),
            LayerKind::Conv2d(conv) => Self::Conv2d(conv.build(spec, device)?),
            LayerKind::BatchNorm1d(norm) => Self::BatchNorm(norm.build(spec, device)?),
            LayerKind::LayerNorm(norm) => Self::LayerNorm(norm.build(spec, device)?),
            LayerKind::ReLU => Self::Relu(Relu::new()),
            LayerKind::Gelu(gelu) => match gelu.approximate {
                GeluApproximation::None => Self::Gelu(ErfGelu),
                GeluApproximation::Tanh => Self::TanhGelu(Gelu::new_approximate()),
            },
            LayerKind::Tanh => Self::Tanh(Tanh::new()),
            LayerKind::AvgPool2d(pool) => Self::AvgPool2d(pool.build()),
            LayerKind::MaxPool2d(pool) => Self::MaxPool2d(pool.build()),
            LayerKind::AdaptiveAvgPool2d(pool) => Self::AdaptiveAvgPool2d(
                AdaptiveAvgPool2dConfig::new(pool.output_size.sides()).init(),
            ),
            LayerKind::Flatten(flatten) if flatten.start_dim == 1 && flatten.end_dim == -1 => {
                Self::Flatten(Flatten)
            }
            LayerKind::Flatten(_) => {
                return Err(spec.unsupported("only all dimensions after the batch are joined"));
            }
            LayerKind::Identity => Self::Identity(Identity),
            LayerKind::Dropout(dropout) if dropout.p == 0.0 => Self::Identity(Identity),
            LayerKind::Dropout(_) => {
                return Err(spec.unsupported("dropout cannot be replayed"));
            }
        })
    }

    /// The layer with Burn's own in place of a recorded one.
    pub(crate) fn into_plain(self) -> Self {
        match self {
            Self::Linear(layer) => Self::PlainLinear(layer.into_inner()),
            Self::Conv2d(layer) => Self::PlainConv2d(layer.into_inner()),
            without_recorder => without_recorder,
        }
    }

    /// Applies the layer.
    pub(crate) fn forward(&self, input: Signal<B>) -> Signal<B> {
        match self {
            Self::Linear(layer) => each_rank!(input, x => layer.forward(x)),
            Self::Conv2d(layer) => Signal::Images(layer.forward(input.into_images())),
            Self::PlainLinear(layer) => each_rank!(input, x => layer.forward(x)),
            Self::PlainConv2d(layer) => Signal::Images(layer.forward(input.into_images())),
            Self::BatchNorm(layer) => each_rank!(input, x => layer.forward(x)),
            Self::LayerNorm(layer) => each_rank!(input, x => layer.forward(x)),
            Self::Relu(layer) => each_rank!(input, x => layer.forward(x)),
            Self::Gelu(layer) => each_rank!(input, x => layer.forward(x)),
            Self::TanhGelu(layer) => each_rank!(input, x => layer.forward(x)),
            Self::Tanh(layer) => each_rank!(input, x => layer.forward(x)),
            Self::AvgPool2d(layer) => Signal::Images(layer.forward(input.into_images())),
            Self::MaxPool2d(layer) => Signal::Images(layer.forward(input.into_images())),
            Self::AdaptiveAvgPool2d(layer) => Signal::Images(layer.forward(input.into_images())),
            Self::Flatten(_) => Signal::Rows(input.flatten()),
            Self::Identity(_) => input,
        }
    }
}

impl ErfGelu {
    fn forward<B: Backend, const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        // Not divided by √2: the derivative of Burn 0.21's `div_scalar` rounds the scalar to `f32`.
        let scaled = input.clone().mul_scalar(FRAC_1_SQRT_2);

        input.mul_scalar(0.5) * scaled.erf().add_scalar(1.0)
    }
}

impl LinearSpec {
    fn build<B: Backend>(&self, device: &B::Device) -> MacLinear<B> {
        LinearConfig::new(self.in_features, self.out_features)
            .with_bias(self.bias)
            .init(device)
            .into()
    }
}

impl Conv2dSpec {
    fn build<B: Backend>(
        &self,
        spec: &LayerSpec,
        device: &B::Device,
    ) -> Result<MacConv2d<B>, TraceError> {
        let padding = match &self.padding {
            Padding::Extent(extent) => symmetric(*extent),
            Padding::Named(name) if name == "same" => PaddingConfig2d::Same,
            Padding::Named(_) => return Err(spec.unsupported("a padding of this name")),
        };

        Ok(Conv2dConfig::new(
            [self.in_channels, self.out_channels],
            self.kernel_size.sides(),
        )
        .with_stride(self.stride.sides())
        .with_dilation(self.dilation.sides())
        .with_groups(self.groups)
        .with_padding(padding)
        .with_bias(self.bias)
        .init(device)
        .into())
    }
}

impl BatchNormSpec {
    fn build<B: Backend>(
        &self,
        spec: &LayerSpec,
        device: &B::Device,
    ) -> Result<BatchNorm<B>, TraceError> {
        if !self.affine {
            return Err(spec.unsupported("Burn's BatchNorm always has a weight and a bias"));
        }

        Ok(BatchNormConfig::new(self.num_features)
            .with_epsilon(self.eps)
            .with_momentum(self.momentum)
            .init(device))
    }
}

impl LayerNormSpec {
    fn build<B: Backend>(
        &self,
        spec: &LayerSpec,
        device: &B::Device,
    ) -> Result<LayerNorm<B>, TraceError> {
        if !self.elementwise_affine {
            return Err(spec.unsupported("Burn's LayerNorm always has a weight"));
        }
        let size = match &self.normalized_shape {
            NormalizedShape::Last(size) => *size,
            NormalizedShape::Trailing(sizes) => match sizes[..] {
                [size] => size,
                _ => return Err(spec.unsupported("only the last dimension is normalized")),
            },
        };

        Ok(LayerNormConfig::new(size)
            .with_epsilon(self.eps)
            .with_bias(self.bias)
            .init(device))
    }
}

impl AvgPool2dSpec {
    fn build(&self) -> AvgPool2d {
        AvgPool2dConfig::new(self.kernel_size.sides())
            .with_strides(self.stride.unwrap_or(self.kernel_size).sides())
            .with_padding(symmetric(self.padding))
            .with_count_include_pad(self.count_include_pad)
            .with_ceil_mode(self.ceil_mode)
            .init()
    }
}

impl MaxPool2dSpec {
    fn build(&self) -> MaxPool2d {
        MaxPool2dConfig::new(self.kernel_size.sides())
            .with_strides(self.stride.unwrap_or(self.kernel_size).sides())
            .with_padding(symmetric(self.padding))
            .with_dilation(self.dilation.sides())
            .with_ceil_mode(self.ceil_mode)
            .init()
    }
}

/// PyTorch pads both ends of a dimension alike.
fn symmetric(extent: Extent) -> PaddingConfig2d {
    let [height, width] = extent.sides();

    PaddingConfig2d::Explicit(height, width, height, width)
}

/// Layers that have been built and wait for their places in the network.
pub(crate) struct NamedLayers<B: Backend> {
    layers: BTreeMap<String, Layer<B>>,
}

impl<B: Backend> NamedLayers<B> {
    /// Builds every layer of a case; the parameters' values come later, from the trace.
    pub(crate) fn build(case: &Case, device: &B::Device) -> Result<Self, TraceError> {
        let mut layers = BTreeMap::new();
        for value in &case.architecture.layers {
            let spec = LayerSpec::read(value)?;
            let layer = Layer::build(&spec, device)?;
            layers.insert(spec.name, layer);
        }

        Ok(Self { layers })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.layers.contains_key(name)
    }

    /// A layer of any type.
    pub(crate) fn take(&mut self, name: &str) -> Result<Layer<B>, TraceError> {
        self.layers
            .remove(name)
            .ok_or_else(|| error(name, "the network needs it, and the case does not have it"))
    }

    pub(crate) fn take_linear(&mut self, name: &str) -> Result<MacLinear<B>, TraceError> {
        match self.take(name)? {
            Layer::Linear(linear) => Ok(linear),
            _ => Err(error(name, "the network needs a Linear here")),
        }
    }

    pub(crate) fn take_conv2d(&mut self, name: &str) -> Result<MacConv2d<B>, TraceError> {
        match self.take(name)? {
            Layer::Conv2d(conv) => Ok(conv),
            _ => Err(error(name, "the network needs a Conv2d here")),
        }
    }

    pub(crate) fn take_layer_norm(&mut self, name: &str) -> Result<LayerNorm<B>, TraceError> {
        match self.take(name)? {
            Layer::LayerNorm(norm) => Ok(norm),
            _ => Err(error(name, "the network needs a LayerNorm here")),
        }
    }

    /// Whether all that is left does nothing: a layer that the network has no place for would be left
    /// out of the replay.
    pub(crate) fn finish(self) -> Result<(), TraceError> {
        self.layers
            .into_iter()
            .find(|(_, layer)| !matches!(layer, Layer::Identity(_)))
            .map_or(Ok(()), |(name, _)| {
                Err(error(&name, "the network has no place for it"))
            })
    }
}

fn error(layer: &str, reason: &str) -> TraceError {
    TraceError::Layer {
        layer: layer.to_owned(),
        reason: reason.to_owned(),
    }
}
