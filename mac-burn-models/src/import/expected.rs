use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

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
