//! Passes over the tensors of a network: to describe them, to fill them, and to read what training leaves.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{
        Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};
use mac_burn_models::pytorch::{Layout, Name};

use crate::{
    error::ParityError,
    fill::Alteration,
    fixture::Fixture,
    running::Running,
    subject::{Described, Slope, host, is_buffer},
};

/// Describes tensors, and initializes none.
pub(crate) struct Survey {
    layout: Layout,
    found: Vec<Described>,
}

impl Survey {
    pub(crate) fn of<B: Backend>(model: &impl Module<B>, name: Name) -> Vec<Described> {
        let mut survey = Self {
            layout: Layout::new(name),
            found: Vec::new(),
        };
        model.visit(&mut survey);

        survey.found
    }
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
            name: self.layout.pytorch_name(),
            shape: self.layout.pytorch_shape(&param.lazy_shape()),
        });
    }
}

/// Fills tensors, up to the first that cannot be filled.
pub(crate) struct Filler<'a> {
    layout: Layout,
    fixture: &'a Fixture,
    alteration: Option<Alteration>,
    error: Option<ParityError>,
}

impl<'a> Filler<'a> {
    pub(crate) fn new(name: Name, fixture: &'a Fixture, alteration: Option<Alteration>) -> Self {
        Self {
            layout: Layout::new(name),
            fixture,
            alteration,
            error: None,
        }
    }

    /// The outcome of the pass.
    pub(crate) fn result(self) -> Result<(), ParityError> {
        self.error.map_or(Ok(()), Err)
    }

    /// The values for a parameter, in Burn's layout.
    fn values(&self, name: &str) -> Result<TensorData, ParityError> {
        let filled = self.fixture.tensor(name)?;
        let mut values = filled.values()?;
        if let Some(alteration) = self.alteration.filter(|found| name.ends_with(found.of)) {
            values = (alteration.change)(&filled.shape, values);
        }

        let values = TensorData::new(values, filled.shape.clone());
        Ok(self.layout.to_burn(values))
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
        if self.error.is_some() {
            return param;
        }
        let name = self.layout.pytorch_name();
        match self.values(&name) {
            Err(error) => {
                self.error = Some(error);
                param
            }
            Ok(values) => {
                let tensor = Tensor::from_data(values, &param.lazy_device());
                Param::initialized(param.id, tensor.set_require_grad(!is_buffer(&name)))
            }
        }
    }
}

/// Reads the gradients of parameters.
pub(crate) struct Slopes<B: AutodiffBackend> {
    layout: Layout,
    gradients: B::Gradients,
    found: Vec<Slope>,
}

impl<B: AutodiffBackend> Slopes<B> {
    pub(crate) fn of(model: &impl Module<B>, name: Name, gradients: B::Gradients) -> Vec<Slope> {
        let mut slopes = Self {
            layout: Layout::new(name),
            gradients,
            found: Vec::new(),
        };
        model.visit(&mut slopes);

        slopes.found
    }
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
        let values = host(self.layout.to_pytorch(gradient.into_data()));
        self.found
            .push(Slope::of(self.layout.pytorch_name(), &values));
    }
}

/// Reads the running statistics of norms; the mean of each is visited before the variance.
pub(crate) struct Statistics {
    layout: Layout,
    found: Vec<Running>,
}

impl Statistics {
    pub(crate) fn of<B: Backend>(model: &impl Module<B>, name: Name) -> Vec<Running> {
        let mut statistics = Self {
            layout: Layout::new(name),
            found: Vec::new(),
        };
        model.visit(&mut statistics);

        statistics.found
    }

    fn add(&mut self, name: &str, values: Vec<f64>) {
        if let Some(norm) = name.strip_suffix(".running_mean") {
            self.found.push(Running {
                name: norm.to_owned(),
                mean: values,
                variance: Vec::new(),
            });
        } else if let Some(norm) = self.found.last_mut() {
            norm.variance = values;
        }
    }
}

impl<B: Backend> ModuleVisitor<B> for Statistics {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let name = self.layout.pytorch_name();
        if is_buffer(&name) {
            self.add(&name, host(param.val().into_data()));
        }
    }
}
