use super::Recorder;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};
use std::cell::Cell;

thread_local! {
    static REMOVING: Cell<bool> = const { Cell::new(false) };
}

/// The module without its recorders, for good: forward passes record nothing and ask nobody, and
/// optimizers find plain layers. Parameters, their ids and the record stay as they are.
///
/// So a network that is defined once, with recorded layers, serves as the plain one as well, where MAC is
/// not wanted: to train with another optimizer, or to compare with. (Inference needs no such step:
/// `valid()` records nothing either.)
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{GradientsParams, Optimizer};
/// use burn::tensor::Tensor;
/// use mac_burn::{MacConfig, MacLinear, unrecorded};
/// # type B = burn::backend::Autodiff<burn_ndarray::NdArray<f32>>;
/// # let device = Default::default();
///
/// let layer: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// let mut layer = unrecorded(layer);
///
/// let mut optim = MacConfig::new().init();
/// let loss = layer.forward(Tensor::<B, 2>::ones([2, 8], &device)).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &layer);
/// layer = optim.step(0.1, layer, grads);
/// assert_eq!(optim.report(&layer).covered_parameters, 0);
/// ```
pub fn unrecorded<B: Backend, M: Module<B>>(module: M) -> M {
    let _removal = Removal::begin();
    module.map(&mut Untouched)
}

/// What becomes of a recorder in a module that is mapped.
pub(super) fn mapped<B: Backend>(recorder: Recorder<B>) -> Recorder<B> {
    if REMOVING.get() {
        Recorder::off()
    } else {
        recorder
    }
}

/// Ends the removal when it is dropped, so that a panic in a module's `map` does not leave it on.
struct Removal {
    outer: bool,
}

impl Removal {
    fn begin() -> Self {
        let outer = REMOVING.replace(true);
        Self { outer }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        REMOVING.set(self.outer);
    }
}

/// Returns parameters as they are, not even initialized.
struct Untouched;

impl<B: Backend> ModuleMapper<B> for Untouched {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param
    }

    fn map_int<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D, Int>>,
    ) -> Param<Tensor<B, D, Int>> {
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D, Bool>>,
    ) -> Param<Tensor<B, D, Bool>> {
        param
    }
}
