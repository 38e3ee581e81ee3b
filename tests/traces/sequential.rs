//! `nn.Sequential`: the layers in the order of the case.

use burn::{
    module::Module,
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use mac_burn::InputCovariance;

use crate::{
    case::Case, error::TraceError, layer::Layer, layer_spec::LayerSpec, network::Network,
    signal::Signal,
};

/// Layers, each feeding the next.
#[derive(Module, Debug)]
pub(crate) struct Sequential<B: Backend> {
    layers: Vec<Layer<B>>,
    /// The layers' names in PyTorch.
    #[module(skip)]
    names: Vec<String>,
}

impl<B: AutodiffBackend> Network<B> for Sequential<B> {
    fn build(case: &Case, device: &B::Device) -> Result<Self, TraceError> {
        let mut layers = Vec::new();
        let mut names = Vec::new();
        for value in &case.architecture.layers {
            let spec = LayerSpec::read(value)?;
            layers.push(Layer::build(&spec, device)?);
            names.push(spec.name);
        }

        Ok(Self { layers, names })
    }

    fn forward(&self, input: Signal<B>) -> Tensor<B, 2> {
        self.layers
            .iter()
            .fold(input, |signal, layer| layer.forward(signal))
            .into_logits()
    }

    /// Turns `layers.2.Linear.weight` into `fc2.weight`.
    fn pytorch_name(&self, path: &[String]) -> String {
        let [_, index, _, tensor] = path else {
            panic!("a parameter at the path {path:?}, where a layer's own are expected");
        };
        let index: usize = index.parse().expect("the layers are a Vec");
        let tensor = match tensor.as_str() {
            "gamma" => "weight",
            "beta" => "bias",
            same => same,
        };

        format!("{}.{tensor}", self.names[index])
    }

    fn input_covariance(&self, layer: &str) -> Result<InputCovariance<B>, TraceError> {
        let index = self.names.iter().position(|name| name == layer);

        match index.map(|index| &self.layers[index]) {
            Some(Layer::Linear(linear)) => Ok(InputCovariance::of(linear)),
            Some(Layer::Conv2d(conv)) => Ok(InputCovariance::of(conv)),
            _ => Err(TraceError::Layer {
                layer: layer.to_owned(),
                reason: "the first layer is no Linear or Conv2d of the network".to_owned(),
            }),
        }
    }
}
