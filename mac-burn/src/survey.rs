use crate::record::collector::{FoundRecorder, collect};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// What a module holds: its float parameters in order, and its recorders.
pub(crate) struct Survey<B: Backend> {
    pub(crate) parameters: Vec<Parameter<B>>,
    pub(crate) recorders: Vec<FoundRecorder<B>>,
}

/// A float parameter of a module.
pub(crate) struct Parameter<B: Backend> {
    pub(crate) id: ParamId,
    pub(crate) path: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) device: B::Device,
    /// Whether it has gradients; running statistics and frozen parameters have none.
    pub(crate) trained: bool,
}

impl<B: Backend> Survey<B> {
    pub(crate) fn of<M: Module<B>>(module: &M) -> Self {
        let mut surveyor = Surveyor {
            path: Vec::new(),
            parameters: Vec::new(),
        };
        let recorders = collect(module, &mut surveyor);
        Self {
            parameters: surveyor.parameters,
            recorders,
        }
    }

    pub(crate) fn parameter(&self, id: ParamId) -> Option<&Parameter<B>> {
        self.parameters.iter().find(|found| found.id == id)
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

struct Surveyor<B: Backend> {
    path: Vec<String>,
    parameters: Vec<Parameter<B>>,
}

impl<B: Backend> ModuleVisitor<B> for Surveyor<B> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = param.val();
        self.parameters.push(Parameter {
            id: param.id,
            path: self.path.join("."),
            shape: tensor.dims().to_vec(),
            device: tensor.device(),
            trained: tensor.is_require_grad(),
        });
    }
}
