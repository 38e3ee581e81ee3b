//! An optimizer that keeps an average of what it steps.

use burn::module::AutodiffModule;
use burn::optim::{GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::backend::AutodiffBackend;

use crate::parameter_average::ParameterAverage;

/// An optimizer with the [average](ParameterAverage) of the module over its steps.
///
/// The average is in its record and so in burn-train's checkpoints, without the network's knowing of it: what visits or maps
/// the network (gradients, weight decay, recorders) finds only the network.
#[derive(Clone)]
pub struct AveragingOptimizer<B: AutodiffBackend, M: AutodiffModule<B>, O> {
    optimizer: O,
    average: Option<ParameterAverage<M::InnerModule>>,
}

impl<B, M, O> AveragingOptimizer<B, M, O>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: Optimizer<M, B>,
{
    /// Of an optimizer, with an average of the module that it is to step, if one is to be kept.
    pub fn new(optimizer: O, average: Option<ParameterAverage<M::InnerModule>>) -> Self {
        Self { optimizer, average }
    }

    /// The average, if it is kept.
    pub fn average(&self) -> Option<&M::InnerModule> {
        self.average.as_ref().map(ParameterAverage::module)
    }

    /// The optimizer alone.
    pub fn into_inner(self) -> O {
        self.optimizer
    }

    fn updated(&mut self, module: M) -> M {
        if let Some(average) = &mut self.average {
            average.update::<B::InnerBackend>(&module.valid());
        }
        module
    }
}

impl<B, M, O> Optimizer<M, B> for AveragingOptimizer<B, M, O>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: Optimizer<M, B>,
{
    /// The record of the optimizer, and the average with the number of copies that are still to come.
    type Record = (O::Record, Option<(M::Record, usize)>);

    fn step(&mut self, lr: f64, module: M, grads: GradientsParams) -> M {
        let module = self.optimizer.step(lr, module, grads);
        self.updated(module)
    }

    fn step_multi(&mut self, lr: f64, module: M, grads: MultiGradientsParams) -> M {
        let module = self.optimizer.step_multi(lr, module, grads);
        self.updated(module)
    }

    fn to_record(&self) -> Self::Record {
        let average = self.average.as_ref().map(|average| {
            let module = M::from_inner(average.module().clone());
            (module.into_record(), average.copies())
        });
        (self.optimizer.to_record(), average)
    }

    /// An average that only one of the record and the optimizer has is left as it is.
    fn load_record(self, (optimizer, average): Self::Record) -> Self {
        let loaded = match (self.average, average) {
            (Some(current), Some((record, copies))) => {
                let loaded = |module| M::from_inner(module).load_record(record).valid();
                Some(current.map(loaded).with_copies(copies))
            }
            (current, _) => current,
        };
        Self {
            optimizer: self.optimizer.load_record(optimizer),
            average: loaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::SgdConfig;
    use burn::tensor::{Tensor, TensorData};

    use super::*;
    use mac_burn_examples::backend::Training;

    fn step<O: Optimizer<Linear<Training>, Training>>(
        optimizer: &mut O,
        layer: Linear<Training>,
    ) -> Linear<Training> {
        let input = Tensor::<Training, 2>::ones([2, 3], &Default::default());
        let loss = layer.forward(input).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        optimizer.step(0.1, layer, grads)
    }

    fn weight(layer: &Linear<mac_burn_examples::backend::Selected>) -> TensorData {
        layer.weight.to_data()
    }

    /// Breaks when the average is not in the record, or begins anew after it is loaded, be it with its copies alone: the
    /// second update would be one then.
    #[test]
    fn an_average_continues_from_the_record() {
        let start = LinearConfig::new(3, 2).init::<Training>(&Default::default());
        let optimizer = || {
            let average = ParameterAverage::new(start.valid(), 0.5).with_copies(1);
            AveragingOptimizer::new(SgdConfig::new().init(), Some(average))
        };
        let mut whole = optimizer();
        let layer = step(&mut whole, start.clone());
        let mut resumed = optimizer().load_record(whole.to_record());
        step(&mut whole, layer.clone());
        let last = step(&mut resumed, layer);

        let average = |optimizer: &AveragingOptimizer<_, Linear<Training>, _>| {
            optimizer.average().map(weight)
        };
        assert_eq!(average(&whole), average(&resumed));
        assert_ne!(average(&whole), Some(weight(&last.valid())));
        assert_ne!(average(&whole), Some(weight(&start.valid())));
    }
}
