//! The gradients of all ranks as one vector.

use super::flat::{Flat, Summed};
use super::{GradientReduction, ReplicaError, Replicas};
use crate::precision::as_dtype;
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use std::collections::HashSet;

impl<I: Backend> Replicas<I> {
    /// Reduces the gradients of all ranks to those of the whole batch, the same bits on each: their mean, or their sum if so
    /// [configured](Self::with_reduction).
    ///
    /// All are reduced in one vector in the order of the module, so parameters may have other ids on other ranks. Where some ranks have no
    /// gradient of a parameter, theirs is 0; a parameter without one on every rank stays without. Call it on each rank in each step, before
    /// [`Mac::try_step`](crate::Mac::try_step) and anything else that looks at gradients. Sums are in `f32`, in `f64` if a parameter is. It
    /// reads a few numbers from the device.
    ///
    /// # Errors
    ///
    /// If a rank is lost, or has other parameters that are trained. The gradients are gone then.
    pub fn reduce_gradients<B, M>(
        &self,
        module: &M,
        grads: GradientsParams,
    ) -> Result<GradientsParams, ReplicaError>
    where
        B: AutodiffBackend<InnerBackend = I>,
        M: AutodiffModule<B>,
    {
        let mut gatherer = Gatherer::<B> {
            grads: &grads,
            seen: HashSet::new(),
            flat: None,
        };
        module.visit(&mut gatherer);
        let Some(flat) = gatherer.flat else {
            return Ok(grads);
        };
        let mut scatterer = Scatterer::<B> {
            summed: flat.sum(self)?,
            divisor: match self.reduction() {
                GradientReduction::Mean => self.world_size() as f64,
                GradientReduction::Sum => 1.0,
            },
            seen: HashSet::new(),
            grads,
        };
        module.visit(&mut scatterer);
        Ok(scatterer.grads)
    }
}

/// Puts gradients into a vector.
struct Gatherer<'a, B: AutodiffBackend> {
    grads: &'a GradientsParams,
    seen: HashSet<ParamId>,
    flat: Option<Flat<B::InnerBackend>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gatherer<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        if !value.is_require_grad() || !self.seen.insert(param.id) {
            return;
        }
        let grad = self.grads.get::<B::InnerBackend, D>(param.id);
        let flat = self
            .flat
            .get_or_insert_with(|| Flat::new("gradients", 0, value.device()));
        flat.push_number(f64::from(u8::from(grad.is_some())));
        flat.push(grad, value.dims(), value.dtype());
    }
}

/// Takes gradients out of the sum.
struct Scatterer<B: AutodiffBackend> {
    summed: Summed<B::InnerBackend>,
    divisor: f64,
    seen: HashSet<ParamId>,
    grads: GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Scatterer<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        if !value.is_require_grad() || !self.seen.insert(param.id) {
            return;
        }
        let present = self.summed.number() > 0.0;
        let sum = self.summed.tensor(value.dims());
        if present {
            drop(self.grads.remove::<B::InnerBackend, D>(param.id));
            let grad = as_dtype(sum.div_scalar(self.divisor), value.dtype());
            self.grads
                .register(param.id, grad.to_device(&value.device()));
        }
    }
}
