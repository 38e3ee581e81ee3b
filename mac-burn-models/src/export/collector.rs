use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{ExportError, Exported, Tensors};
use crate::pytorch::{Layout, Name};

/// Collects the tensors of a module, up to the first that cannot be stored.
pub(super) struct Collector {
    layout: Layout,
    found: Result<Tensors, ExportError>,
}

impl Collector {
    /// The tensors of a module by PyTorch's names.
    pub(super) fn of<B: Backend>(
        module: &impl Module<B>,
        name: Name,
    ) -> Result<Tensors, ExportError> {
        let mut collector = Self {
            layout: Layout::new(name),
            found: Ok(Vec::new()),
        };
        module.visit(&mut collector);

        collector.found
    }
}

impl<B: Backend> ModuleVisitor<B> for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Ok(found) = &mut self.found else {
            return;
        };
        let name = self.layout.pytorch_name();
        let tensor = param.transform_for_save().val();
        let dtype = tensor.dtype();
        match Exported::new(tensor, &self.layout) {
            Some(tensor) => found.push((name, tensor)),
            None => self.found = Err(ExportError::UnknownType { name, dtype }),
        }
    }
}
