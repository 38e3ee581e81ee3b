//! Gradients before they are preconditioned and stepped with: merged, clipped, and looked at.

use crate::curvature::{InverseRoot, LayerGradient, WeightGradient};
use crate::precision::{as_dtype, at_least_f32};
use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, MultiGradientsParams};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, Tensor};
use std::collections::{HashMap, HashSet};

/// Added to a norm before it divides, as PyTorch's `clip_grad_norm_` does.
const NORM_EPSILON: f64 = 1e-6;

/// The gradients that were prepared when they were preconditioned.
pub(crate) struct Prepared<B: AutodiffBackend> {
    pub(crate) parameters: HashSet<ParamId>,
    /// Whether a gradient has a NaN or infinity, `[1]`, on the device; with the guard on only.
    pub(crate) broken: HashMap<ParamId, Tensor<B::InnerBackend, 1, Bool>>,
    /// The inverse roots of the curvatures of weights whose momentum is to be preconditioned.
    pub(crate) inverse_roots: HashMap<ParamId, InverseRoot<B::InnerBackend>>,
}

impl<B: AutodiffBackend> Prepared<B> {
    pub(crate) fn none() -> Self {
        Self {
            parameters: HashSet::new(),
            broken: HashMap::new(),
            inverse_roots: HashMap::new(),
        }
    }

    /// Prepares the gradient of a parameter, unless that was done already.
    pub(crate) fn prepare<const D: usize>(
        &mut self,
        id: ParamId,
        grad: Tensor<B::InnerBackend, D>,
        preparation: &Preparation<B>,
    ) -> Tensor<B::InnerBackend, D> {
        if !self.parameters.insert(id) {
            return grad;
        }
        if preparation.guard {
            self.broken.insert(id, is_broken(&grad));
        }
        preparation.apply(grad)
    }
}

/// Clipping of a gradient, and the search for values that are not finite, before anything else.
pub(crate) struct Preparation<B: AutodiffBackend> {
    /// Burn's clipping of each gradient.
    pub(crate) clipping: Option<GradientClipping>,
    /// The factor of all gradients that brings their norm within a limit, `[1]`.
    pub(crate) factor: Option<Tensor<B::InnerBackend, 1>>,
    /// Whether gradients that are not finite are looked for.
    pub(crate) guard: bool,
}

impl<B: AutodiffBackend> Preparation<B> {
    pub(crate) fn none() -> Self {
        Self {
            clipping: None,
            factor: None,
            guard: false,
        }
    }

    /// Clips a gradient, in at least `f32`.
    pub(crate) fn apply<const D: usize>(
        &self,
        mut grad: Tensor<B::InnerBackend, D>,
    ) -> Tensor<B::InnerBackend, D> {
        let dtype = grad.dtype();
        if let Some(factor) = &self.factor {
            grad = as_dtype(scaled(at_least_f32(grad), factor), dtype);
        }
        match &self.clipping {
            // Squares of what half precision holds may be too large for it: the norm would be infinite, and the gradient 0.
            Some(clipping) => as_dtype(clipping.clip_gradient(at_least_f32(grad)), dtype),
            None => grad,
        }
    }

    pub(crate) fn apply_to_layer(&self, gradient: &mut LayerGradient<B::InnerBackend>) {
        if self.clipping.is_none() && self.factor.is_none() {
            return;
        }
        // Clipping by value makes a number of an infinity.
        self.look_for_broken(gradient);
        gradient.map(self);
    }

    /// Looks for a NaN or infinity in the gradients of a layer, with the guard on and unless that is known already.
    pub(crate) fn look_for_broken(&self, gradient: &mut LayerGradient<B::InnerBackend>) {
        if !self.guard || gradient.broken.is_some() {
            return;
        }
        let weight = match &gradient.weight {
            WeightGradient::Matrix(weight) => is_broken(weight),
            WeightGradient::Kernel(weight) => is_broken(weight),
        };
        gradient.broken = Some(match &gradient.bias {
            Some(bias) => weight.bool_or(is_broken(bias)),
            None => weight,
        });
    }
}

/// Whether anything in a tensor is not finite, `[1]`, decided on the device.
pub(crate) fn is_broken<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Tensor<B, 1, Bool> {
    // A sum of finite numbers may be too large for half precision.
    at_least_f32(tensor.clone()).sum().is_finite().bool_not()
}

/// A tensor times a number of the device.
fn scaled<B: Backend, const D: usize>(tensor: Tensor<B, D>, factor: &Tensor<B, 1>) -> Tensor<B, D> {
    let factor = factor.clone().to_device(&tensor.device());
    let factor = factor.cast(tensor.dtype()).reshape([1; D]);
    tensor * factor
}

/// The factor that brings the norm of all gradients of a module within `limit`: `min(1, limit / (‖g‖ + ε))`, `[1]`. None
/// without a gradient.
///
/// With `finite_only`, gradients that are not finite count as 0. Otherwise one of them makes NaN of the norm, and so of
/// all gradients.
pub(crate) fn norm_factor<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &GradientsParams,
    limit: f64,
    finite_only: bool,
) -> Option<Tensor<B::InnerBackend, 1>> {
    let mut norm = SquaredNorm::<B> {
        grads,
        finite_only,
        sum: None,
    };
    module.visit(&mut norm);
    let norm = norm.sum?.sqrt().add_scalar(NORM_EPSILON);
    let factor = norm.ones_like().mul_scalar(limit) / norm;
    // A backend's `clamp_max` may make 1 of NaN.
    let above = factor.clone().greater_elem(1.0);
    Some(factor.mask_fill(above, 1.0))
}

/// Prepares the gradients of a module that were not when others were preconditioned.
pub(crate) fn prepare_rest<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    preparation: &Preparation<B>,
    prepared: &mut Prepared<B>,
) {
    module.visit(&mut Preparer {
        grads,
        preparation,
        prepared,
    });
}

/// Multiplies all gradients of a module by a number of the device.
pub(crate) fn scale_all<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    factor: Tensor<B::InnerBackend, 1>,
) {
    let preparation = Preparation::<B> {
        factor: Some(factor),
        ..Preparation::none()
    };
    prepare_rest(module, grads, &preparation, &mut Prepared::none());
}

/// Sums the gradients of several devices, as Burn's optimizers do.
pub(crate) fn merge<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    from: MultiGradientsParams,
) -> GradientsParams {
    let mut merger = Merger {
        from,
        merged: GradientsParams::new(),
    };
    module.visit(&mut merger);
    merger.merged
}

struct SquaredNorm<'a, B: AutodiffBackend> {
    grads: &'a GradientsParams,
    finite_only: bool,
    sum: Option<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for SquaredNorm<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) else {
            return;
        };
        // Looked for in the gradient: the squares of large numbers are infinite too.
        let broken = self.finite_only.then(|| is_broken(&grad));
        let mut square = at_least_f32(grad).square().sum();
        if let Some(broken) = broken {
            square = square.mask_fill(broken, 0.0);
        }
        self.sum = Some(match self.sum.take() {
            Some(sum) => {
                let square = square.to_device(&sum.device());
                let dtype = sum.dtype();
                sum + as_dtype(square, dtype)
            }
            None => square,
        });
    }
}

struct Preparer<'a, B: AutodiffBackend> {
    grads: &'a mut GradientsParams,
    preparation: &'a Preparation<B>,
    prepared: &'a mut Prepared<B>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Preparer<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.prepared.parameters.contains(&param.id) {
            return;
        }
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let grad = self.prepared.prepare(param.id, grad, self.preparation);
            self.grads.register(param.id, grad);
        }
    }
}

struct Merger {
    from: MultiGradientsParams,
    merged: GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Merger {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some((grad, _)) = self.from.remove::<B::InnerBackend, D>(param.id) {
            self.merged.register(param.id, grad);
        }
    }
}
