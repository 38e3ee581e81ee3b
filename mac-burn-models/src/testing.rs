//! Helpers of the networks' tests.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::backend::Backend;
use burn::tensor::{Shape, Tensor};
use mac_burn::{Coverage, MacConfig, Report};

pub(crate) type TestBackend = burn_flex::Flex;
pub(crate) type TrainBackend = Autodiff<TestBackend>;

/// Loads the stored form of one module into another type of module, as a checkpoint file would carry it.
pub(crate) fn through_a_file<S, T>(source: S, target: T) -> T
where
    S: Module<TestBackend>,
    T: Module<TestBackend>,
{
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::new();
    let bytes = recorder
        .record(source.into_record(), ())
        .expect("a record can be serialized");
    let record = recorder
        .load(bytes, &Default::default())
        .expect("both modules have the same names and shapes");
    target.load_record(record)
}

/// The number of parameters, of which running statistics are none, without making them: of large networks that takes
/// seconds.
pub(crate) fn num_params<M: Module<TestBackend>>(module: &M) -> usize {
    let is_statistic = |path: &str| path.contains(".running_");
    let tensors = shapes(module).into_iter();
    tensors
        .filter(|(path, _)| !is_statistic(path))
        .map(|(_, shape)| shape.num_elements())
        .sum()
}

/// The paths and shapes of all tensors, none of which is made.
pub(crate) fn shapes<M: Module<TestBackend>>(module: &M) -> Vec<(String, Shape)> {
    #[derive(Default)]
    struct Shapes {
        path: Vec<String>,
        found: Vec<(String, Shape)>,
    }
    impl<B: Backend> ModuleVisitor<B> for Shapes {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.found.push((self.path.join("."), param.lazy_shape()));
        }
    }
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.found
}

/// The names that a function gives to all tensors.
pub(crate) fn names<M: Module<TestBackend>>(module: &M, name: fn(&str) -> String) -> Vec<String> {
    let tensors = shapes(module).into_iter();
    tensors.map(|(path, _)| name(&path)).collect()
}

/// The standard deviation of values whose mean is 0.
pub(crate) fn std<const D: usize>(values: Tensor<TestBackend, D>) -> f64 {
    let variance: f32 = values.powi_scalar(2).mean().into_scalar();
    f64::from(variance).sqrt()
}

/// The report of a step of MAC.
pub(crate) fn report_of_a_step<M, const D: usize>(
    module: M,
    forward: impl Fn(&M) -> Tensor<TrainBackend, D>,
) -> Report
where
    M: AutodiffModule<TrainBackend>,
{
    let mut optim = MacConfig::new().init();
    let gradients = forward(&module).sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &module);
    let module = optim.step(0.1, module, gradients);
    optim.report(&module)
}

/// The paths of the layers that a step of MAC leaves without a preconditioner, and the number of those that have one.
pub(crate) fn uncovered_and_covered<M, const D: usize>(
    module: M,
    forward: impl Fn(&M) -> Tensor<TrainBackend, D>,
) -> (Vec<String>, usize)
where
    M: AutodiffModule<TrainBackend>,
{
    let layers = report_of_a_step(module, forward).layers;
    let (covered, uncovered): (Vec<_>, Vec<_>) = layers
        .into_iter()
        .partition(|layer| layer.coverage == Coverage::MeanActivation);
    let paths = uncovered.into_iter().map(|layer| layer.path).collect();
    (paths, covered.len())
}

/// Whether passes differ from each other in training, and not outside of it.
pub(crate) fn assert_drops_in_training_only<const D: usize>(
    in_training: impl Fn() -> Tensor<TrainBackend, D>,
    outside: impl Fn() -> Tensor<TestBackend, D>,
) {
    assert_ne!(in_training().into_data(), in_training().into_data());
    assert_eq!(outside().into_data(), outside().into_data());
}
