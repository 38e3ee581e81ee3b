//! The interface of an architecture that can be replayed, a list of layers as one, and the names of a network's tensors.

use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use burn_store::ModuleSnapshot;
use mac_burn::InputCovariance;

use crate::{
    case::{Case, Layers, Trace, TraceError},
    layer::{Layer, Signal},
    layer_spec::LayerSpec,
};

/// A network that a case describes.
///
/// A further architecture is a type that implements this, and a variant of
/// [`ArchitectureKind`](crate::case::ArchitectureKind).
pub(crate) trait Network<B: AutodiffBackend>: AutodiffModule<B> {
    /// Builds the case's network; the parameters' values come later, from the trace.
    fn build(case: &Case, device: &B::Device) -> Result<Self, TraceError>;

    /// Logits for a batch.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, ..]`
    /// - output: `[batch, classes]`
    fn forward(&self, input: Signal<B>) -> Tensor<B, 2>;

    /// The name that PyTorch's network gives to the parameter or buffer at a path of this one.
    fn pytorch_name(&self, path: &[String]) -> String;

    /// The covariance of the input of a layer that the network's input goes into, with no batch seen.
    fn input_covariance(&self, layer: &str) -> Result<InputCovariance<B>, TraceError>;

    /// The probability that each key gets in a layer of attention, averaged over batch, heads and
    /// queries, by the name of the projection; nothing is recorded.
    fn averaged_attention(&self, _input: Signal<B::InnerBackend>) -> NamedValues {
        NamedValues::new()
    }
}

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
            let layer = Layer::build(&spec, device)?;
            layers.push(match case.layers {
                Layers::Recorded => layer,
                Layers::Plain => layer.into_plain(),
            });
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
            Some(Layer::PlainLinear(linear)) => Ok(InputCovariance::of(linear)),
            Some(Layer::PlainConv2d(conv)) => Ok(InputCovariance::of(conv)),
            _ => Err(TraceError::Layer {
                layer: layer.to_owned(),
                reason: "the first layer is no Linear or Conv2d of the network".to_owned(),
            }),
        }
    }
}

/// Values by PyTorch's names, row by row in PyTorch's layout.
pub(crate) type NamedValues = BTreeMap<String, Vec<f64>>;

/// The names of the tensors of a network.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    names: HashMap<ParamId, Name>,
}

#[derive(Clone, Debug)]
struct Name {
    pytorch: String,
    path: String,
}

impl Names {
    /// Names the tensors of a network, which must be those of the case.
    pub(crate) fn of<B: AutodiffBackend, N: Network<B>>(
        network: &N,
        case: &Case,
    ) -> Result<Self, TraceError> {
        let tensors = network.collect(None, None, false).into_iter();
        let names = tensors.filter_map(|tensor| {
            let name = Name {
                path: tensor.full_path(),
                pytorch: network.pytorch_name(&tensor.path_stack?),
            };
            Some((tensor.tensor_id?, name))
        });
        let names = Self {
            names: names.collect(),
        };
        names.check(case)?;

        Ok(names)
    }

    fn check(&self, case: &Case) -> Result<(), TraceError> {
        for name in case.param_shapes.keys() {
            self.id(name)
                .ok_or_else(|| TraceError::UnknownParameter(name.clone()))?;
        }
        let extra = self
            .names
            .values()
            .map(|name| &name.pytorch)
            .find(|name| !is_buffer(name) && !case.param_shapes.contains_key(*name));

        extra.map_or(Ok(()), |name| Err(TraceError::ExtraParameter(name.clone())))
    }

    /// The identity of a tensor.
    pub(crate) fn id(&self, pytorch: &str) -> Option<ParamId> {
        self.names
            .iter()
            .find(|(_, name)| name.pytorch == pytorch)
            .map(|(id, _)| *id)
    }

    /// The PyTorch name of a tensor.
    pub(crate) fn pytorch(&self, id: ParamId) -> &str {
        &self.names[&id].pytorch
    }

    /// A text with names in the place of ids, which are other ones in each network.
    pub(crate) fn in_place_of_ids(&self, text: String) -> String {
        self.names.iter().fold(text, |text, (id, name)| {
            text.replace(&id.to_string(), &name.pytorch)
        })
    }

    /// Burn's path to a tensor, as the patterns of an optimizer's configuration see it.
    pub(crate) fn path(&self, pytorch: &str) -> Option<&str> {
        self.names
            .values()
            .find(|name| name.pytorch == pytorch)
            .map(|name| name.path.as_str())
    }

    /// The network with the values that its tensors have before the first step.
    pub(crate) fn load<B: AutodiffBackend, N: Network<B>>(
        &self,
        network: N,
        trace: &Trace,
    ) -> Result<N, TraceError> {
        let mut loader = Loader {
            names: self,
            trace,
            error: None,
        };
        let network = network.map(&mut loader);

        loader.error.map_or(Ok(network), Err)
    }

    /// The values of parameters and buffers.
    ///
    /// Taken from the validation form of the network, since making it is what applies the last
    /// update of a running statistic.
    pub(crate) fn parameters<B: AutodiffBackend, N: Network<B>>(&self, network: &N) -> NamedValues {
        let mut reader = Reader {
            names: self,
            gradients: None,
            values: NamedValues::new(),
        };
        network.valid().visit(&mut reader);

        reader.values
    }

    /// The values of the gradients that there are.
    pub(crate) fn gradients<B: AutodiffBackend, N: Network<B>>(
        &self,
        network: &N,
        gradients: &GradientsParams,
    ) -> NamedValues {
        let mut reader = Reader {
            names: self,
            gradients: Some(gradients),
            values: NamedValues::new(),
        };
        network.valid().visit(&mut reader);

        reader.values
    }
}

/// Whether PyTorch keeps this tensor as a buffer, which no optimizer sees.
pub(crate) fn is_buffer(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// From Burn's layout to PyTorch's, and back.
///
/// Only the weight of a `Linear` has two dimensions, and only its layout differs.
fn other_layout<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    if D == 2 {
        tensor.swap_dims(0, 1)
    } else {
        tensor
    }
}

/// Reads tensors, or their gradients.
struct Reader<'a> {
    names: &'a Names,
    gradients: Option<&'a GradientsParams>,
    values: NamedValues,
}

impl<B: Backend> ModuleVisitor<B> for Reader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = match self.gradients {
            None => Some(param.val()),
            Some(gradients) => gradients.get::<B, D>(param.id),
        };
        if let Some(tensor) = tensor {
            let name = self.names.pytorch(param.id).to_owned();
            let values = other_layout(tensor).into_data().iter::<f64>().collect();
            self.values.insert(name, values);
        }
    }
}

/// Puts the trace's initial values in.
struct Loader<'a> {
    names: &'a Names,
    trace: &'a Trace,
    error: Option<TraceError>,
}

impl Loader<'_> {
    fn initial<B: Backend, const D: usize>(
        &self,
        id: ParamId,
        current: &Tensor<B, D>,
    ) -> Result<Tensor<B, D>, TraceError> {
        let name = self.names.pytorch(id);
        let data = self.trace.tensor(&format!("init.{name}"))?;
        let expected = other_layout(current.clone()).dims();
        if data.shape[..] != expected {
            return Err(TraceError::Shape {
                name: name.to_owned(),
                expected: expected.to_vec(),
                found: data.shape.to_vec(),
            });
        }
        let initial = Tensor::from_data(data.convert::<B::FloatElem>(), &current.device());

        Ok(other_layout(initial).set_require_grad(current.is_require_grad()))
    }
}

impl<B: Backend> ModuleMapper<B> for Loader<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, current, mapper) = param.consume();
        let value = self.initial(id, &current).unwrap_or_else(|error| {
            self.error.get_or_insert(error);
            current
        });

        Param::from_mapped_value(id, value, mapper)
    }
}
