//! Burn's optimizers, without weight decay for some parameters.

use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{
    GradientsParams, LearningRate, MultiGradientsParams, Optimizer, SimpleOptimizer,
};
use burn::tensor::backend::AutodiffBackend;

use super::Exemption;

/// An optimizer with weight decay, and the same without, over one module: each leaves alone the parameters that it gets no
/// gradient for.
#[derive(Clone)]
pub struct ExemptingOptimizer<M, B, O>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: SimpleOptimizer<B::InnerBackend>,
{
    decayed: OptimizerAdaptor<O, M, B>,
    exempt: OptimizerAdaptor<O, M, B>,
    exemption: Exemption,
}

impl<M, B, O> ExemptingOptimizer<M, B, O>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// Of an optimizer with weight decay, and of one without for what is exempt.
    pub fn new(
        decayed: OptimizerAdaptor<O, M, B>,
        exempt: OptimizerAdaptor<O, M, B>,
        exemption: Exemption,
    ) -> Self {
        Self {
            decayed,
            exempt,
            exemption,
        }
    }
}

impl<M, B, O> Optimizer<M, B> for ExemptingOptimizer<M, B, O>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: SimpleOptimizer<B::InnerBackend>,
{
    type Record = (
        <OptimizerAdaptor<O, M, B> as Optimizer<M, B>>::Record,
        <OptimizerAdaptor<O, M, B> as Optimizer<M, B>>::Record,
    );

    fn step(&mut self, lr: LearningRate, module: M, mut grads: GradientsParams) -> M {
        let exempt = self.exemption.take(&module, &mut grads);
        let module = self.decayed.step(lr, module, grads);
        match exempt.is_empty() {
            true => module,
            false => self.exempt.step(lr, module, exempt),
        }
    }

    fn step_multi(&mut self, lr: LearningRate, module: M, mut grads: MultiGradientsParams) -> M {
        let mut exempt = MultiGradientsParams::default();
        for (grads, device) in &mut grads.grads {
            let taken = self.exemption.take(&module, grads);
            exempt.grads.push((taken, *device));
        }
        let module = self.decayed.step_multi(lr, module, grads);
        self.exempt.step_multi(lr, module, exempt)
    }

    fn to_record(&self) -> Self::Record {
        (self.decayed.to_record(), self.exempt.to_record())
    }

    fn load_record(self, (decayed, exempt): Self::Record) -> Self {
        Self {
            decayed: self.decayed.load_record(decayed),
            exempt: self.exempt.load_record(exempt),
            exemption: self.exemption,
        }
    }
}
