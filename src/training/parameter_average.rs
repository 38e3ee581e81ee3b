//! A network whose parameters are an average of those of another over its training.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive};

/// The exponential moving average (EMA) of everything in a module that is made of floats, parameters and running statistics
/// alike: `ema ← decay · ema + (1 − decay) · θ`.
///
/// It often classifies better than the module itself while the learning rate is large. The first average is the module
/// as it is then, and so are the first few updates if [`with_copies`](Self::with_copies) says so: an average that began
/// with the initial values would have a share of them for a long time. Nothing is read from the device.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use mac_burn_examples::backend::Selected;
/// use mac_burn_examples::training::ParameterAverage;
///
/// let layer = LinearConfig::new(2, 1).init::<Selected>(&Default::default());
/// let mut average = ParameterAverage::new(layer.clone(), 0.9);
/// average.update::<Selected>(&layer);
/// assert_eq!(average.module().num_params(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct ParameterAverage<M> {
    module: M,
    decay: f64,
    copies: usize,
}

impl<M> ParameterAverage<M> {
    /// Starts with `module`, which must share no running statistics with the one that is averaged: that of an
    /// [`AutodiffModule`](burn::module::AutodiffModule)'s `valid()` does not. `decay` is in [0, 1].
    pub fn new(module: M, decay: f64) -> Self {
        Self {
            module,
            decay,
            copies: 0,
        }
    }

    /// Copies the module in as many updates, and averages after them.
    pub fn with_copies(self, copies: usize) -> Self {
        Self { copies, ..self }
    }

    /// The number of updates that are copies and still to come.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// The average.
    pub fn module(&self) -> &M {
        &self.module
    }

    /// The average alone.
    pub fn into_module(self) -> M {
        self.module
    }

    /// The average with what `change` makes of it, as with the values of a record.
    pub fn map(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            module: change(self.module),
            ..self
        }
    }

    /// Moves the average towards the module as it is now.
    ///
    /// # Panics
    /// If the module has not the parameters of the average, by their ids.
    pub fn update<B: Backend>(&mut self, current: &M)
    where
        M: Module<B>,
    {
        let mut values = Values(HashMap::new());
        current.visit(&mut values);
        let copies = self.copies > 0;
        self.copies -= usize::from(copies);
        let mut averaging = Averaging {
            values: values.0,
            decay: (!copies).then_some(self.decay),
        };
        self.module = self.module.clone().map(&mut averaging);
    }
}

/// The values of a module, by parameter.
struct Values<B: Backend>(HashMap<ParamId, TensorPrimitive<B>>);

impl<B: Backend> ModuleVisitor<B> for Values<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.insert(param.id, param.val().into_primitive());
    }
}

struct Averaging<B: Backend> {
    values: HashMap<ParamId, TensorPrimitive<B>>,
    /// None for a copy.
    decay: Option<f64>,
}

impl<B: Backend> ModuleMapper<B> for Averaging<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, average, mapper) = param.consume();
        let Some(value) = self.values.remove(&id) else {
            panic!("the average has a parameter that the module does not have");
        };
        let value = Tensor::<B, D>::from_primitive(value).to_device(&average.device());
        let average = match self.decay {
            Some(decay) => average.mul_scalar(decay) + value.mul_scalar(1.0 - decay),
            None => value,
        };
        Param::from_mapped_value(id, average, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::AutodiffModule;
    use burn::nn::{BatchNorm, BatchNormConfig};

    use super::*;
    use crate::backend::{Selected, Training};

    const DECAY: f64 = 0.75;

    /// A norm whose parameters and statistics are all `value`.
    fn norm(like: &BatchNorm<Training>, value: f32) -> BatchNorm<Training> {
        struct Filled(f32);
        impl ModuleMapper<Training> for Filled {
            fn map_float<const D: usize>(
                &mut self,
                param: Param<Tensor<Training, D>>,
            ) -> Param<Tensor<Training, D>> {
                let (id, tensor, mapper) = param.consume();
                let filled = tensor.inner().full_like(self.0);
                Param::from_mapped_value(id, Tensor::from_inner(filled), mapper)
            }
        }
        like.clone().map(&mut Filled(value))
    }

    fn values(norm: &BatchNorm<Selected>) -> Vec<f32> {
        let tensors = [
            norm.gamma.val(),
            norm.beta.val(),
            norm.running_mean.value(),
            norm.running_var.value(),
        ];
        let tensors = tensors.map(|tensor| tensor.into_data().iter().collect::<Vec<f32>>());
        tensors.concat()
    }

    /// Breaks when the decay is the weight of the new value, when running statistics are left out or taken as they are, or when
    /// the average shares them with the module.
    #[test]
    fn it_follows_the_formula_for_parameters_and_running_statistics() {
        let norm_of = BatchNormConfig::new(2).init::<Training>(&Default::default());
        let first = norm(&norm_of, 1.0).valid();
        let mut average = ParameterAverage::new(first, DECAY);
        let mut expected = 1.0_f64;
        for value in [5.0, -3.0, 0.5] {
            average.update::<Selected>(&norm(&norm_of, value).valid());
            expected = DECAY * expected + (1.0 - DECAY) * f64::from(value);
        }
        let values = values(average.module());
        assert_eq!(values.len(), 8);
        // All of these are exact in binary.
        assert!(
            values.iter().all(|value| f64::from(*value) == expected),
            "{values:?} {expected}"
        );
    }

    /// Breaks when a copy has a share of the average before it, or a copy too many or too few is made.
    #[test]
    fn the_first_updates_are_copies() {
        let norm_of = BatchNormConfig::new(2).init::<Training>(&Default::default());
        let average = ParameterAverage::new(norm(&norm_of, 1.0).valid(), DECAY);
        let mut average = average.with_copies(2);
        for (value, expected, left) in [(5.0, 5.0, 1), (-3.0, -3.0, 0), (1.0, -2.0, 0)] {
            average.update::<Selected>(&norm(&norm_of, value).valid());
            assert_eq!(values(average.module()), [expected; 8]);
            assert_eq!(average.copies(), left);
        }
    }

    #[test]
    #[should_panic(expected = "a parameter that the module does not have")]
    fn another_module_is_refused() {
        let init = || BatchNormConfig::new(2).init::<Selected>(&Default::default());
        ParameterAverage::new(init(), DECAY).update::<Selected>(&init());
    }
}
