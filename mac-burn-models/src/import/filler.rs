use std::collections::HashMap;

use burn::module::{ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::checkpoint::Checkpoint;
use super::{Expected, ImportError};
use crate::pytorch::{Layout, Name};

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
