//! The layers of a case by name, for a network that has more structure than a list.

use std::collections::BTreeMap;

use burn::{nn::LayerNorm, tensor::backend::Backend};
use mac_burn::{MacConv2d, MacLinear};

use crate::{case::Case, error::TraceError, layer::Layer, layer_spec::LayerSpec};

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
