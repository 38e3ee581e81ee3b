//! What the tests of the networks share.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{Coverage, MacConfig};

pub(crate) type TestBackend = burn_ndarray::NdArray;
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

/// The number of parameters, without making them: of large networks that takes seconds.
pub(crate) fn num_params<M: Module<TestBackend>>(module: &M) -> usize {
    struct Counter(usize);
    impl<B: Backend> ModuleVisitor<B> for Counter {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0 += param.lazy_shape().num_elements();
        }
    }
    let mut counter = Counter(0);
    module.visit(&mut counter);
    counter.0
}

/// The paths of the layers that a step of MAC leaves without a preconditioner, and the number of those that have one.
pub(crate) fn uncovered_and_covered<M, const D: usize>(
    module: M,
    forward: impl Fn(&M) -> Tensor<TrainBackend, D>,
) -> (Vec<String>, usize)
where
    M: AutodiffModule<TrainBackend>,
{
    let mut optim = MacConfig::new().init();
    let gradients = forward(&module).sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &module);
    let module = optim.step(0.1, module, gradients);
    let layers = optim.report(&module).layers;
    let (covered, uncovered): (Vec<_>, Vec<_>) = layers
        .into_iter()
        .partition(|layer| layer.coverage == Coverage::MeanActivation);
    let paths = uncovered.into_iter().map(|layer| layer.path).collect();
    (paths, covered.len())
}
