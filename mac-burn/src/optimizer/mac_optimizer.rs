use super::gradients::is_broken;
use super::step_form::StepForm;
use crate::curvature::InverseRoot;
use crate::precision::{as_dtype, at_least_f32};
use crate::{MacConfig, WeightDecayForm};
use burn::optim::LearningRate;
use burn::optim::SimpleOptimizer;
use burn::record::Record;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};
use std::marker::PhantomData;

/// The step that MAC takes with a preconditioned gradient `g`: momentum and weight decay of one
/// tensor, in the authors' forms.
///
/// With `v` started at 0, learning rate `η`, momentum `μ` and weight decay `λ`:
///
/// ```text
/// decoupled (default)          coupled
/// v ← μ v + g                  v ← μ v + (g + λ θ)
/// θ ← (1 − η λ) θ − η v        θ ← θ − η v
/// ```
///
/// With Nesterov, `g + μ v` takes the place of `v` in the second line. With another [`StepForm`] than `Momentum`, the direction that
/// the form makes of it takes its place. The learning rate is not in
/// the buffer, so a schedule acts at once. Burn's `Sgd` without dampening has the coupled form of it; with `Momentum` this one is made
/// to allocate one temporary tensor a step (two with coupled decay) and to update the rest in place.
///
/// Parameters and buffers of half precision are stepped in `f32` and rounded to their type once: in it, `1 − η λ` would
/// be 1. What is less than half the distance to the next number is still lost, as in any training without `f32` copies
/// of the parameters; decay that is smaller than that counts only together with the rest of the step.
///
/// With the guard on, a gradient with a NaN or infinity changes neither `θ` nor `v`. [`Mac`](crate::Mac) looks for one
/// where that costs less, in the product that a preconditioner makes anyway.
#[derive(Debug, Clone)]
pub struct MacOptimizer<B: Backend> {
    momentum: f64,
    nesterov: bool,
    nesterov_first_step: bool,
    weight_decay: f64,
    weight_decay_form: WeightDecayForm,
    form: StepForm,
    guard: bool,
    backend: PhantomData<B>,
}

/// The state that [`MacOptimizer`] keeps for a parameter.
#[derive(Record, Clone)]
pub struct MacOptimizerState<B: Backend, const D: usize> {
    /// The momentum buffer `v`, shaped like the parameter.
    pub velocity: Tensor<B, D>,
}

/// The circumstances of a step beside the parameter, its gradient and its state.
pub(crate) struct StepContext<'a, B: Backend> {
    pub(crate) lr: LearningRate,
    /// Whether the parameter has weight decay.
    pub(crate) decays: bool,
    /// The inverse root of the curvature of a weight, for forms that act on its momentum.
    pub(crate) inverse_root: Option<&'a InverseRoot<B>>,
}

impl<B: Backend> MacOptimizer<B> {
    pub(crate) fn new(config: &MacConfig) -> Self {
        Self {
            momentum: config.momentum,
            nesterov: config.nesterov,
            nesterov_first_step: config.nesterov_first_step,
            weight_decay: config.weight_decay,
            weight_decay_form: config.weight_decay_form,
            form: config.step,
            guard: config.guard_gradients,
            backend: PhantomData,
        }
    }

    /// A step, without effect if `broken`.
    pub(crate) fn step_guarded<const D: usize>(
        &self,
        context: StepContext<'_, B>,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Option<MacOptimizerState<B, D>>,
        broken: Option<Tensor<B, 1, Bool>>,
    ) -> (Tensor<B, D>, Option<MacOptimizerState<B, D>>) {
        let velocity = state.map(|state| state.velocity);
        let kept = broken.map(|broken| {
            let broken = broken.reshape([1; D]).expand(grad.shape());
            (broken, tensor.clone(), velocity.clone())
        });
        let (tensor, velocity) = self.update(context, tensor, grad, velocity);
        let (tensor, velocity) = match kept {
            None => (tensor, velocity),
            Some((broken, before, velocity_before)) => {
                let velocity = velocity.map(|velocity| match velocity_before {
                    Some(before) => velocity.mask_where(broken.clone(), before),
                    None => velocity.mask_fill(broken.clone(), 0.0),
                });
                (tensor.mask_where(broken, before), velocity)
            }
        };
        (
            tensor,
            velocity.map(|velocity| MacOptimizerState { velocity }),
        )
    }

    /// The new parameter and, with momentum, the new buffer, in the parameter's type and rounded to it once.
    fn update<const D: usize>(
        &self,
        context: StepContext<'_, B>,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        velocity: Option<Tensor<B, D>>,
    ) -> (Tensor<B, D>, Option<Tensor<B, D>>) {
        let dtype = tensor.dtype();
        let (tensor, velocity) = self.unrounded_update(
            context,
            at_least_f32(tensor),
            at_least_f32(grad),
            velocity.map(at_least_f32),
        );
        let velocity = velocity.map(|velocity| as_dtype(velocity, dtype));
        (as_dtype(tensor, dtype), velocity)
    }

    fn unrounded_update<const D: usize>(
        &self,
        context: StepContext<'_, B>,
        tensor: Tensor<B, D>,
        mut grad: Tensor<B, D>,
        velocity: Option<Tensor<B, D>>,
    ) -> (Tensor<B, D>, Option<Tensor<B, D>>) {
        let lr = context.lr;
        let decays = context.decays && self.weight_decay > 0.0;
        if decays && self.weight_decay_form == WeightDecayForm::Coupled {
            grad = tensor.clone().mul_scalar(self.weight_decay) + grad;
        }
        let (momentum, velocity) = self.momentum_step(grad, velocity);
        let step = self.form.step(lr, momentum, context.inverse_root);
        let tensor = if decays && self.weight_decay_form == WeightDecayForm::Decoupled {
            tensor.mul_scalar(1.0 - lr * self.weight_decay)
        } else {
            tensor
        };
        (tensor - step, velocity)
    }

    /// The momentum that a step is made of, and the new buffer.
    fn momentum_step<const D: usize>(
        &self,
        grad: Tensor<B, D>,
        velocity: Option<Tensor<B, D>>,
    ) -> (Tensor<B, D>, Option<Tensor<B, D>>) {
        if self.momentum == 0.0 {
            return (grad, None);
        }
        let looks_ahead = self.nesterov && (self.nesterov_first_step || velocity.is_some());
        let ahead = looks_ahead.then(|| grad.clone());
        let velocity = match velocity {
            Some(velocity) => velocity.mul_scalar(self.momentum) + grad,
            None => grad,
        };
        let step = match ahead {
            Some(grad) => velocity.clone().mul_scalar(self.momentum).add(grad),
            None => velocity.clone(),
        };
        (step, Some(velocity))
    }
}

impl<B: Backend> SimpleOptimizer<B> for MacOptimizer<B> {
    type State<const D: usize> = MacOptimizerState<B, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<B, D>, Option<Self::State<D>>) {
        let broken = self.guard.then(|| is_broken(&grad));
        let context = StepContext {
            lr,
            decays: true,
            inverse_root: None,
        };
        self.step_guarded(context, tensor, grad, state, broken)
    }

    fn to_device<const D: usize>(mut state: Self::State<D>, device: &B::Device) -> Self::State<D> {
        state.velocity = state.velocity.to_device(device);
        state
    }
}
