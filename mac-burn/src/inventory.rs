use crate::layer::Layer;
use crate::statistics::collector::{ModuleRecorder, collect};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use std::collections::HashMap;

/// The float parameters of a module in their order, and its recorders.
pub(crate) struct Inventory<B: Backend> {
    pub(crate) parameters: Vec<Parameter<B>>,
    pub(crate) recorders: Vec<ModuleRecorder<B>>,
    positions: HashMap<ParamId, usize>,
}

/// A float parameter of a module.
pub(crate) struct Parameter<B: Backend> {
    pub(crate) id: ParamId,
    pub(crate) path: String,
    /// The types that hold each name of the path, as Burn's derive has it: `Struct:Linear`, or `Vec` of an index.
    pub(crate) containers: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    pub(crate) device: B::Device,
    /// Whether it can have gradients; running statistics and frozen parameters have none.
    pub(crate) trained: bool,
    /// Whether it has a gradient in this step.
    pub(crate) has_gradient: bool,
}

impl<B: AutodiffBackend> Inventory<B> {
    pub(crate) fn of<M: Module<B>>(module: &M) -> Self {
        Self::with_gradients(module, &GradientsParams::new())
    }

    /// The inventory of a step with these gradients.
    pub(crate) fn with_gradients<M: Module<B>>(module: &M, grads: &GradientsParams) -> Self {
        let mut visitor = ParameterVisitor::<B> {
            grads,
            path: Vec::new(),
            containers: Vec::new(),
            parameters: Vec::new(),
        };
        let recorders = collect(module, &mut visitor);
        let parameters = visitor.parameters;
        let ids = parameters.iter().map(|parameter| parameter.id);
        Self {
            positions: ids.enumerate().map(|(index, id)| (id, index)).collect(),
            parameters,
            recorders,
        }
    }

    pub(crate) fn parameter(&self, id: ParamId) -> Option<&Parameter<B>> {
        self.positions
            .get(&id)
            .map(|position| &self.parameters[*position])
    }

    /// A parameter with its position in the module.
    pub(crate) fn position_and_parameter(&self, id: ParamId) -> Option<(usize, &Parameter<B>)> {
        let position = *self.positions.get(&id)?;
        Some((position, &self.parameters[position]))
    }

    /// The layers that recorders stand for, as far as they are known.
    pub(crate) fn layers(&self) -> impl Iterator<Item = Layer> {
        self.recorders.iter().filter_map(|found| found.layer)
    }

    /// The path of a layer, or the id of its weight if that is no parameter of the module.
    pub(crate) fn path_of(&self, layer: Layer) -> String {
        match self.parameter(layer.weight) {
            Some(weight) => weight.layer_path().to_string(),
            None => layer.weight.to_string(),
        }
    }
}

impl<B: Backend> Parameter<B> {
    /// The path of the layer that holds the parameter; a bare parameter is its own.
    pub(crate) fn layer_path(&self) -> &str {
        self.path
            .rsplit_once('.')
            .map_or(self.path.as_str(), |(layer, _)| layer)
    }

    pub(crate) fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

struct ParameterVisitor<'a, B: Backend> {
    grads: &'a GradientsParams,
    path: Vec<String>,
    containers: Vec<String>,
    parameters: Vec<Parameter<B>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for ParameterVisitor<'_, B> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.to_string());
        self.containers.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = param.val();
        let gradient = self.grads.get::<B::InnerBackend, D>(param.id);
        self.parameters.push(Parameter {
            id: param.id,
            path: self.path.join("."),
            containers: self.containers.join("."),
            shape: tensor.dims().to_vec(),
            dtype: tensor.dtype(),
            device: tensor.device(),
            trained: tensor.is_require_grad(),
            has_gradient: gradient.is_some(),
        });
    }
}
