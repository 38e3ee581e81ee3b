use crate::bits::Bits;
use crate::run::{Parameters, after_step};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Adds the parameters of a network as they are after a step.
pub(crate) fn read_parameters<B: Backend, M: Module<B>>(
    step: usize,
    network: &M,
    parameters: &mut Parameters,
) {
    network.visit(&mut Reader {
        step,
        path: Vec::new(),
        parameters,
    });
}

struct Reader<'a> {
    step: usize,
    path: Vec<String>,
    parameters: &'a mut Parameters,
}

impl<B: Backend> ModuleVisitor<B> for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let name = after_step(self.step, &self.path.join("."));
        let values = param.val().into_data().iter().map(Bits).collect();
        self.parameters.insert(name, values);
    }
}
