use super::auxiliary::Auxiliary;
use super::gradients::{Preparation, Prepared};
use super::mac_optimizer::{MacOptimizer, MacOptimizerState, StepContext};
use burn::module::{ModuleMapper, Param, ParamId};
use burn::optim::record::AdaptorRecord;
use burn::optim::{GradientsParams, LearningRate, SimpleOptimizer};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Bool, Tensor};
use std::collections::{HashMap, HashSet};

/// The state of the optimizer of one parameter.
pub enum ParameterState<B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// MAC's, with the momentum buffer.
    Mac(AdaptorRecord<MacOptimizer<B::InnerBackend>, B>),
    /// The auxiliary optimizer's.
    Auxiliary(AdaptorRecord<O, B>),
}

impl<B, O> Clone for ParameterState<B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    fn clone(&self) -> Self {
        match self {
            Self::Mac(state) => Self::Mac(state.clone()),
            Self::Auxiliary(state) => Self::Auxiliary(state.clone()),
        }
    }
}

/// The states of all parameters.
pub(super) type ParameterStates<B, O> = HashMap<ParamId, ParameterState<B, O>>;

/// The step of every parameter of a module, in one pass over it.
pub(super) struct ParameterSteps<'a, B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    pub(super) lr: LearningRate,
    pub(super) optimizer: &'a MacOptimizer<B::InnerBackend>,
    pub(super) auxiliary: Option<&'a Auxiliary<O>>,
    pub(super) states: &'a mut ParameterStates<B, O>,
    pub(super) grads: GradientsParams,
    /// The gradients that were clipped and looked at when they were preconditioned.
    pub(super) prepared: Prepared<B>,
    pub(super) preparation: &'a Preparation<B>,
    /// The parameters of the auxiliary optimizer.
    pub(super) uncovered: &'a HashSet<ParamId>,
    pub(super) auxiliary_weight_decay: f64,
    /// The parameters without weight decay.
    pub(super) no_decay: &'a HashSet<ParamId>,
}

impl<B, O> ModuleMapper<B> for ParameterSteps<'_, B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let marks = Marks::of(&tensor);
        let device = grad.device();
        let tensor = if tensor.device() == device {
            tensor.inner()
        } else {
            tensor.inner().to_device(&device)
        };
        let grad = self.prepared.prepare(id, grad, self.preparation);
        let broken = self.prepared.broken.remove(&id);
        let tensor = match self.auxiliary.filter(|_| self.uncovered.contains(&id)) {
            Some(auxiliary) => self.auxiliary_step(id, auxiliary, tensor, grad, broken),
            None => self.mac_step(id, tensor, grad, broken),
        };
        Param::from_mapped_value(id, marks.apply(id, Tensor::from_inner(tensor)), mapper)
    }
}

/// A tensor of the inner backend.
type Inner<B, const D: usize> = Tensor<<B as AutodiffBackend>::InnerBackend, D>;
/// Whether a gradient is broken, if anybody looks.
type Broken<B> = Option<Tensor<<B as AutodiffBackend>::InnerBackend, 1, Bool>>;

impl<B, O> ParameterSteps<'_, B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    fn mac_step<const D: usize>(
        &mut self,
        id: ParamId,
        tensor: Inner<B, D>,
        grad: Inner<B, D>,
        broken: Broken<B>,
    ) -> Inner<B, D> {
        let device = tensor.device();
        let state: Option<MacOptimizerState<B::InnerBackend, D>> = match self.states.remove(&id) {
            Some(ParameterState::Mac(state)) => {
                Some(MacOptimizer::to_device(state.into_state(), &device))
            }
            _ => None,
        };
        let root = self.prepared.inverse_roots.remove(&id);
        let context = StepContext {
            lr: self.lr,
            decays: !self.no_decay.contains(&id),
            inverse_root: root.as_ref(),
        };
        let (tensor, state) = self
            .optimizer
            .step_guarded(context, tensor, grad, state, broken);
        if let Some(state) = state {
            let state = ParameterState::Mac(AdaptorRecord::from_state(state));
            self.states.insert(id, state);
        }
        tensor
    }

    /// The auxiliary optimizer's state is of a type that only it knows and cannot be masked. So with the guard on, a broken
    /// gradient is one of zeros to it, and the parameter gets its value back.
    fn auxiliary_step<const D: usize>(
        &mut self,
        id: ParamId,
        auxiliary: &Auxiliary<O>,
        tensor: Inner<B, D>,
        mut grad: Inner<B, D>,
        broken: Broken<B>,
    ) -> Inner<B, D> {
        let broken = broken.map(|broken| broken.reshape([1; D]).expand(grad.shape()));
        let before = broken.clone().map(|broken| (broken, tensor.clone()));
        if let Some(broken) = broken {
            grad = grad.mask_fill(broken, 0.0);
        }
        if let Some(clipping) = &auxiliary.clipping {
            grad = clipping.clip_gradient(grad);
        }
        let device = tensor.device();
        let state = match self.states.remove(&id) {
            Some(ParameterState::Auxiliary(state)) => {
                Some(O::to_device(state.into_state::<D>(), &device))
            }
            _ => None,
        };
        let lr = auxiliary.lr(self.lr);
        let tensor = match self.auxiliary_weight_decay {
            decay if decay > 0.0 && !self.no_decay.contains(&id) => {
                tensor.mul_scalar(1.0 - lr * decay)
            }
            _ => tensor,
        };
        let (mut tensor, state) = auxiliary.optimizer.step(lr, tensor, grad, state);
        if let Some(state) = state {
            let state = ParameterState::Auxiliary(AdaptorRecord::from_state(state));
            self.states.insert(id, state);
        }
        if let Some((broken, before)) = before {
            tensor = tensor.mask_where(broken, before);
        }
        tensor
    }
}

/// Properties of a parameter's tensor that its successor inherits.
struct Marks {
    trained: bool,
    #[cfg(feature = "distributed")]
    distributed: bool,
}

impl Marks {
    fn of<B: AutodiffBackend, const D: usize>(tensor: &Tensor<B, D>) -> Self {
        Self {
            trained: tensor.is_require_grad(),
            #[cfg(feature = "distributed")]
            distributed: tensor.is_distributed(),
        }
    }

    #[cfg_attr(
        not(feature = "distributed"),
        expect(
            unused_variables,
            reason = "only a distributed tensor is marked by its id"
        )
    )]
    fn apply<B: AutodiffBackend, const D: usize>(
        self,
        id: ParamId,
        tensor: Tensor<B, D>,
    ) -> Tensor<B, D> {
        let tensor = tensor.set_require_grad(self.trained);
        #[cfg(feature = "distributed")]
        if self.distributed {
            use burn::tensor::backend::distributed::DistributedParamId;
            return tensor.set_distributed(DistributedParamId::from(id.val()));
        }
        tensor
    }
}
