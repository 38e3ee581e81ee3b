use crate::layer::Layer;
use crate::recording_backend::{Aliases, RecordedParameter, recorded_parameter, records};
use crate::statistics::Recorder;
use crate::statistics::collector::{ModuleRecorder, RecorderHolder, collect};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use std::collections::{HashMap, HashSet};

/// The float parameters of a module in their order, and its recorders.
pub(crate) struct Inventory<B: Backend> {
    pub(crate) parameters: Vec<Parameter<B>>,
    pub(crate) recorders: Vec<ModuleRecorder<B>>,
    /// Recorders that the backend keeps for weights that have a recorder in their layer.
    pub(crate) superseded: Vec<Recorder<B>>,
    /// Weights of several maps that the backend sees, with its recorders.
    pub(crate) in_several_maps: Vec<(ParamId, Recorder<B>)>,
    /// Whether the [backend records](crate::recording_backend), so that layers need no recorders.
    pub(crate) backend_records: bool,
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
            recorded: Vec::new(),
        };
        let recorders = collect(module, &mut visitor);
        let parameters = visitor.parameters;
        let ids = parameters.iter().map(|parameter| parameter.id);
        let mut inventory = Self {
            positions: ids.enumerate().map(|(index, id)| (id, index)).collect(),
            parameters,
            recorders,
            superseded: Vec::new(),
            in_several_maps: Vec::new(),
            backend_records: records::<B>(),
        };
        inventory.add_recorders_of_backend(visitor.recorded);
        inventory
    }

    /// Adds a recorder for each parameter that may be a weight, seen or not: so replicas, which may have seen others, have as many.
    fn add_recorders_of_backend(&mut self, recorded: Vec<Option<RecordedParameter<B>>>) {
        let in_layers: HashSet<ParamId> = self.layers().map(|layer| layer.weight).collect();
        let mut aliases = Aliases::default();
        for (parameter, recorded) in self.parameters.iter().zip(&recorded) {
            if let Some(recorded) = recorded {
                aliases.insert(recorded.id, parameter.id, parameter.layer_path());
            }
        }
        // A parameter that two modules share is found twice.
        let mut known = HashSet::new();
        for (parameter, recorded) in self.parameters.iter().zip(recorded) {
            let Some(recorded) = recorded else { continue };
            if !parameter.trained || parameter.shape.len() < 2 || !known.insert(parameter.id) {
                continue;
            }
            let recorder = recorded.recorder;
            // First, so that passes which count meanwhile are left for the next step.
            let recorder = recorder.map_or_else(Recorder::new, |recorder| recorder.of_step());
            let of_module =
                |layer| aliases.resolved_as(layer, parameter.id, parameter.layer_path());
            let counted = recorder.counted_layers().into_iter();
            let counted: Vec<_> = counted.map(of_module).collect();
            // That with a trained bias: others may have a bias that is no parameter.
            let mut latest = counted.iter().rev();
            let with_bias = latest.find(|layer| self.trained_bias(**layer).is_some());
            let counted_as = with_bias.or(counted.last()).copied();
            let is_one_map = counted_as.is_none_or(|latest| {
                counted
                    .iter()
                    .all(|layer| self.are_same_map(*layer, latest))
            });
            let mut layer = None;
            if in_layers.contains(&parameter.id) {
                self.superseded.push(recorder.shared());
            } else if !is_one_map || (counted.is_empty() && recorder.was_in_several_maps()) {
                self.in_several_maps.push((parameter.id, recorder.shared()));
            } else {
                layer = counted_as.or_else(|| recorder.layer().map(of_module));
                layer = layer.filter(|layer| layer.kind.fits(&parameter.shape));
            }
            self.recorders.push(ModuleRecorder {
                recorder,
                layer,
                holder: RecorderHolder::Backend,
            });
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

    /// Whether the weight has a recorder of the backend's and none in its layer.
    pub(crate) fn is_recorded_by_backend(&self, weight: ParamId) -> bool {
        let mut of_backend = self.recorders.iter().filter(|found| {
            found.holder == RecorderHolder::Backend
                && found.layer.is_some_and(|layer| layer.weight == weight)
        });
        of_backend.next().is_some()
    }

    /// The bias of a layer, if it is a trained parameter of the module.
    pub(crate) fn trained_bias(&self, layer: Layer) -> Option<ParamId> {
        let bias = self.parameter(layer.bias?)?;
        bias.trained.then_some(bias.id)
    }

    /// Whether both layers of a weight are the same map, with the same bias if both are trained.
    pub(crate) fn are_same_map(&self, left: Layer, right: Layer) -> bool {
        let biases = self.trained_bias(left).zip(self.trained_bias(right));
        left.is_same_map(&right) && biases.is_none_or(|(left, right)| left == right)
    }

    /// Whether a backend that records saw the parameter as the weight of several maps.
    pub(crate) fn is_in_several_maps(&self, parameter: ParamId) -> bool {
        self.in_several_maps.iter().any(|(id, _)| *id == parameter)
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
    /// Each of them as a backend that records knows it.
    recorded: Vec<Option<RecordedParameter<B>>>,
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
        self.recorded.push(recorded_parameter(param));
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
