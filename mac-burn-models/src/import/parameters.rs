use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::ImportError;
use super::checkpoint::Checkpoint;
use crate::pytorch::{Layout, Name};

/// A tensor that a module has, and what PyTorch calls it.
pub(super) struct Expected {
    /// The path in the module.
    pub(super) path: String,
    pub(super) name: String,
    /// In PyTorch's layout.
    pub(super) shape: Vec<usize>,
    pub(super) initialized: bool,
}

impl Expected {
    /// The tensors of a module; none is initialized for it.
    pub(super) fn of<B: Backend>(module: &impl Module<B>, name: Name) -> Vec<Self> {
        let mut survey = Survey {
            layout: Layout::new(name),
            found: Vec::new(),
        };
        module.visit(&mut survey);

        survey.found
    }
}

struct Survey {
    layout: Layout,
    found: Vec<Expected>,
}

impl<B: Backend> ModuleVisitor<B> for Survey {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.push(Expected {
            path: self.layout.path(),
            name: self.layout.pytorch_name(),
            shape: self.layout.pytorch_shape(&param.lazy_shape()),
            initialized: param.is_initialized(),
        });
    }
}

/// Gives the tensors of a module the values of a file.
pub(super) struct Filler {
    layout: Layout,
    /// In PyTorch's layout, by the paths of the tensors in the module.
    values: HashMap<String, TensorData>,
}

impl Filler {
    /// Reads the values of all expected tensors that a file has.
    pub(super) fn read(
        expected: &[Expected],
        file: &Checkpoint,
        name: Name,
    ) -> Result<Self, ImportError> {
        let mut values = HashMap::new();
        for tensor in expected {
            if let Some(found) = file.tensor(&tensor.name) {
                values.insert(tensor.path.clone(), file.values(found)?);
            }
        }

        Ok(Self {
            layout: Layout::new(name),
            values,
        })
    }
}

impl<B: Backend> ModuleMapper<B> for Filler {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(values) = self.values.remove(&self.layout.path()) else {
            return param;
        };
        let (id, values, device) = (param.id, self.layout.to_burn(values), param.lazy_device());
        // What is not initialized would get the device's default type.
        let tensor = match param.is_initialized() {
            true => Tensor::from_data(values, (&device, param.val().dtype())),
            false => Tensor::from_data(values, &device),
        };

        param.transform_for_load(tensor, id)
    }
}
