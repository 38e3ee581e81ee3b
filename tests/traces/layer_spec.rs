//! A layer as `case.json` describes it, with PyTorch's defaults for what it leaves out.

use serde::Deserialize;
use serde_json::Value;

use crate::case::TraceError;

/// One entry of `architecture.layers`.
#[derive(Clone, Debug)]
pub(crate) struct LayerSpec {
    pub(crate) name: String,
    pub(crate) kind: LayerKind,
}

/// The layer types of PyTorch that the harness can build.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum LayerKind {
    Linear(LinearSpec),
    Conv2d(Conv2dSpec),
    #[serde(alias = "BatchNorm2d")]
    BatchNorm1d(BatchNormSpec),
    LayerNorm(LayerNormSpec),
    ReLU,
    #[serde(rename = "GELU")]
    Gelu(GeluSpec),
    Tanh,
    AvgPool2d(AvgPool2dSpec),
    MaxPool2d(MaxPool2dSpec),
    AdaptiveAvgPool2d(AdaptiveAvgPool2dSpec),
    Flatten(FlattenSpec),
    Identity,
    Dropout(DropoutSpec),
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LinearSpec {
    pub(crate) in_features: usize,
    pub(crate) out_features: usize,
    #[serde(default = "yes")]
    pub(crate) bias: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Conv2dSpec {
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) kernel_size: Extent,
    #[serde(default = "Extent::one")]
    pub(crate) stride: Extent,
    #[serde(default = "Padding::none")]
    pub(crate) padding: Padding,
    #[serde(default = "Extent::one")]
    pub(crate) dilation: Extent,
    #[serde(default = "one")]
    pub(crate) groups: usize,
    #[serde(default = "zeros")]
    pub(crate) padding_mode: String,
    #[serde(default = "yes")]
    pub(crate) bias: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BatchNormSpec {
    pub(crate) num_features: usize,
    #[serde(default = "norm_eps")]
    pub(crate) eps: f64,
    #[serde(default = "batch_norm_momentum")]
    pub(crate) momentum: f64,
    #[serde(default = "yes")]
    pub(crate) affine: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LayerNormSpec {
    pub(crate) normalized_shape: NormalizedShape,
    #[serde(default = "norm_eps")]
    pub(crate) eps: f64,
    #[serde(default = "yes")]
    pub(crate) elementwise_affine: bool,
    #[serde(default = "yes")]
    pub(crate) bias: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GeluSpec {
    #[serde(default)]
    pub(crate) approximate: GeluApproximation,
}

/// PyTorch's names of the two forms of GELU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GeluApproximation {
    #[default]
    None,
    Tanh,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AvgPool2dSpec {
    pub(crate) kernel_size: Extent,
    pub(crate) stride: Option<Extent>,
    #[serde(default = "Extent::zero")]
    pub(crate) padding: Extent,
    #[serde(default = "yes")]
    pub(crate) count_include_pad: bool,
    #[serde(default)]
    pub(crate) ceil_mode: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MaxPool2dSpec {
    pub(crate) kernel_size: Extent,
    pub(crate) stride: Option<Extent>,
    #[serde(default = "Extent::zero")]
    pub(crate) padding: Extent,
    #[serde(default = "Extent::one")]
    pub(crate) dilation: Extent,
    #[serde(default)]
    pub(crate) ceil_mode: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AdaptiveAvgPool2dSpec {
    #[serde(default = "Extent::one")]
    pub(crate) output_size: Extent,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FlattenSpec {
    #[serde(default = "one")]
    pub(crate) start_dim: usize,
    #[serde(default = "last")]
    pub(crate) end_dim: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DropoutSpec {
    pub(crate) p: f64,
}

/// Height and width; one number stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Extent {
    Square(usize),
    Sides([usize; 2]),
}

/// The padding of a convolution.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Padding {
    Extent(Extent),
    Named(String),
}

/// The trailing shape that a LayerNorm normalizes over.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum NormalizedShape {
    Last(usize),
    Trailing(Vec<usize>),
}

impl LayerSpec {
    /// Reads an entry of `architecture.layers`.
    pub(crate) fn read(value: &Value) -> Result<Self, TraceError> {
        let name = value["name"].as_str().unwrap_or("(without a name)");
        let kind = LayerKind::deserialize(value).map_err(|error| TraceError::Layer {
            layer: name.to_owned(),
            reason: error.to_string(),
        })?;

        Ok(Self {
            name: name.to_owned(),
            kind,
        })
    }

    /// The error of a layer whose type is known and whose settings cannot be built.
    pub(crate) fn unsupported(&self, reason: &str) -> TraceError {
        TraceError::Layer {
            layer: self.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl Extent {
    fn one() -> Self {
        Self::Square(1)
    }

    fn zero() -> Self {
        Self::Square(0)
    }

    /// `[height, width]`
    pub(crate) fn sides(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side, side],
            Self::Sides(sides) => sides,
        }
    }
}

impl Padding {
    fn none() -> Self {
        Self::Extent(Extent::zero())
    }
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn last() -> i64 {
    -1
}

fn zeros() -> String {
    "zeros".to_owned()
}

fn norm_eps() -> f64 {
    1e-5
}

fn batch_norm_momentum() -> f64 {
    0.1
}
