use crate::gradients::is_broken;
use burn::module::{AutodiffModule, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Bool, Tensor};
use std::collections::HashMap;

/// Values of parameters, to be put back after a step for which their gradients were not finite.
pub(super) struct Keeper<B: AutodiffBackend> {
    /// Whether a parameter's gradient is not finite, `[1]`, on the device.
    broken: HashMap<ParamId, Tensor<B::InnerBackend, 1, Bool>>,
    /// The values before the step; a container of tensors of any rank.
    before: GradientsParams,
}

impl<B: AutodiffBackend> Keeper<B> {
    /// Keeps the values of the parameters with gradients, and replaces each gradient that is not finite
    /// by zeros, so that it does not get into a state that cannot be put back.
    pub(super) fn of<M: AutodiffModule<B>>(module: &M, grads: &mut GradientsParams) -> Self {
        let mut keeper = Self {
            broken: HashMap::new(),
            before: GradientsParams::new(),
        };
        module.visit(&mut Taker {
            keeper: &mut keeper,
            grads,
        });
        keeper
    }

    /// Puts back what is to be kept.
    pub(super) fn restore<M: AutodiffModule<B>>(mut self, module: M) -> M {
        module.map(&mut self)
    }
}

struct Taker<'a, B: AutodiffBackend> {
    keeper: &'a mut Keeper<B>,
    grads: &'a mut GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Taker<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) else {
            return;
        };
        let broken = is_broken(&grad);
        let everywhere = broken.clone().reshape([1; D]).expand(grad.shape());
        self.grads
            .register(param.id, grad.mask_fill(everywhere, 0.0));
        self.keeper.broken.insert(param.id, broken);
        self.keeper.before.register(param.id, param.val().inner());
    }
}

impl<B: AutodiffBackend> ModuleMapper<B> for Keeper<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, after, mapper) = param.consume();
        let kept = self.broken.remove(&id).zip(self.before.remove(id));
        let after = match kept {
            Some((broken, before)) => {
                let trained = after.is_require_grad();
                // A step moves a parameter to the device of its gradient.
                let device = after.device();
                let (broken, before) = (broken.to_device(&device), before.to_device(&device));
                let broken = broken.reshape([1; D]).expand(after.shape());
                Tensor::from_inner(after.inner().mask_where(broken, before))
                    .set_require_grad(trained)
            }
            None => after,
        };
        Param::from_mapped_value(id, after, mapper)
    }
}
