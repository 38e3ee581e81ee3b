//! A run that is interrupted, for the tests of examples that resume one.

use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use mac_burn_examples::training::Progress;

/// Copies the artifacts of a run as it tells its progress after the last of its steps: the checkpoint is that of the validation
/// before then.
pub(crate) fn copying<'a>(
    artifacts: &'a Path,
    to: &'a Path,
    last: usize,
) -> impl FnMut(Progress) + 'a {
    move |progress| {
        if progress.step == last {
            for file in fs::read_dir(artifacts).expect("there is a checkpoint") {
                let file = file.expect("it can be listed");
                fs::copy(file.path(), to.join(file.file_name())).expect("it can be copied");
            }
        }
    }
}

/// The values of everything that is made of floats in a module, in its order.
pub(crate) fn values<B: Backend>(module: &impl Module<B>) -> Vec<TensorData> {
    struct Values(Vec<TensorData>);
    impl<B: Backend> ModuleVisitor<B> for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0.push(param.val().into_data());
        }
    }
    let mut values = Values(Vec::new());
    module.visit(&mut values);
    values.0
}
