//! The parameters of a module, and other values for them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use mac_burn_models::pytorch::Layout;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A parameter, with its values as the module has them.
#[derive(Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) path: String,
    pub(crate) id: ParamId,
    /// Whether it gets a gradient.
    pub(crate) learns: bool,
    pub(crate) values: TensorData,
}

/// The parameters of a module, running statistics included.
pub(crate) fn parameters<B: Backend>(module: &impl Module<B>) -> Vec<Parameter> {
    let mut reader = Reader {
        layout: Layout::new(str::to_owned),
        found: Vec::new(),
    };
    module.visit(&mut reader);

    reader.found
}

/// The module with random values in place of its own, so that no norm and no bias is as it was made. All are positive, as
/// variances are, and outputs keep the size of inputs.
pub(crate) fn filled<B: Backend, M: Module<B>>(module: M, seed: u64) -> M {
    module.map(&mut Filler(StdRng::seed_from_u64(seed)))
}

struct Reader {
    layout: Layout,
    found: Vec<Parameter>,
}

impl<B: Backend> ModuleVisitor<B> for Reader {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.push(Parameter {
            path: self.layout.path(),
            id: param.id,
            learns: param.is_require_grad(),
            values: param.val().into_data(),
        });
    }
}

struct Filler(StdRng);

impl<B: Backend> ModuleMapper<B> for Filler {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.shape();
        let summed = shape.num_elements() / shape[0];
        let draw = |_| self.0.random_range(0.5f32..1.5) / summed as f32;
        let values: Vec<f32> = (0..shape.num_elements()).map(draw).collect();
        let options = (&tensor.device(), tensor.dtype());
        let values = Tensor::from_data(TensorData::new(values, shape), options);
        Param::from_mapped_value(
            id,
            values.set_require_grad(tensor.is_require_grad()),
            mapper,
        )
    }
}
