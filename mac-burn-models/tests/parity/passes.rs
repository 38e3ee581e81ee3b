//! Passes over the tensors of a network: to describe them, to fill them, and to read their gradients.

use burn::{
    module::{ModuleMapper, ModuleVisitor, Param},
    tensor::{
        Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};

use crate::{
    error::ParityError,
    fill::Alteration,
    fixture::Fixture,
    layout::Layout,
    subject::{Described, Slope, host, is_buffer},
};

/// Describes tensors, and initializes none.
pub(crate) struct Survey {
    pub(crate) layout: Layout,
    pub(crate) name: fn(&str) -> String,
    pub(crate) found: Vec<Described>,
}

impl<B: Backend> ModuleVisitor<B> for Survey {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.push(Described {
            name: (self.name)(&self.layout.path()),
            shape: self.layout.pytorch_shape(&param.lazy_shape()),
        });
    }
}

/// Fills tensors, and keeps the last error.
pub(crate) struct Filler<'a> {
    pub(crate) layout: Layout,
    pub(crate) name: fn(&str) -> String,
    pub(crate) fixture: &'a Fixture,
    pub(crate) alteration: Option<Alteration>,
    pub(crate) error: Option<ParityError>,
}

impl Filler<'_> {
    /// The values for a parameter of a shape here, in its own layout.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ParityError> {
        let filled = self.fixture.tensor(name)?;
        let mut values = filled.values()?;
        if let Some(alteration) = self.alteration.filter(|found| name.ends_with(found.of)) {
            values = (alteration.change)(&filled.shape, values);
        }

        Ok(self.layout.from_pytorch(shape, values))
    }
}

impl<B: Backend> ModuleMapper<B> for Filler<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = (self.name)(&self.layout.path());
        let shape = param.lazy_shape();
        let values = match self.values(&name, &shape) {
            Ok(values) => values,
            Err(error) => {
                self.error = Some(error);
                return param;
            }
        };
        let device = param.lazy_device();
        let tensor = Tensor::from_data(TensorData::new(values, shape), &device);

        Param::initialized(param.id, tensor.set_require_grad(!is_buffer(&name)))
    }
}

/// Reads the gradients of trained tensors.
pub(crate) struct Slopes<B: AutodiffBackend> {
    pub(crate) layout: Layout,
    pub(crate) name: fn(&str) -> String,
    pub(crate) gradients: B::Gradients,
    pub(crate) found: Vec<Slope>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Slopes<B> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(gradient) = param.val().grad_remove(&mut self.gradients) else {
            return;
        };
        let shape = gradient.dims();
        let values = self.layout.to_pytorch(&shape, host(gradient.into_data()));
        self.found
            .push(Slope::of((self.name)(&self.layout.path()), &values));
    }
}
