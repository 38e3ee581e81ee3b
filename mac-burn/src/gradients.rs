//! Passes over the gradients of a module, whose ranks only a visitor knows.

use crate::record::statistics::{as_dtype, at_least_f32};
use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, MultiGradientsParams};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, Tensor};
use std::collections::HashSet;

/// Clips each gradient as Burn's optimizers do, in at least `f32`.
pub(crate) fn clip<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    clipping: &GradientClipping,
) {
    module.visit(&mut Clipper { grads, clipping });
}

/// Fills each gradient that is not finite with NaN throughout, but those that are `marked` already.
pub(crate) fn mark_broken<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    marked: &HashSet<ParamId>,
) {
    module.visit(&mut Marker { grads, marked });
}

/// Whether anything in a tensor is not finite, `[1]`, decided on the device.
pub(crate) fn is_broken<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Tensor<B, 1, Bool> {
    // A sum of finite numbers may be too large for half precision.
    at_least_f32(tensor.clone()).sum().is_finite().bool_not()
}

/// Takes the gradients of some parameters out of those of a module.
pub(crate) fn take<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    grads: &mut GradientsParams,
    ids: &HashSet<ParamId>,
) -> GradientsParams {
    let mut taken = GradientsParams::new();
    if !ids.is_empty() {
        module.visit(&mut Taker {
            grads,
            ids,
            taken: &mut taken,
        });
    }
    taken
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

struct Clipper<'a> {
    grads: &'a mut GradientsParams,
    clipping: &'a GradientClipping,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Clipper<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let dtype = grad.dtype();
            // Squares of what half precision holds may be too large for it: the norm would be infinite, and the gradient 0.
            let clipped = self.clipping.clip_gradient(at_least_f32(grad));
            self.grads.register(param.id, as_dtype(clipped, dtype));
        }
    }
}

struct Marker<'a> {
    grads: &'a mut GradientsParams,
    marked: &'a HashSet<ParamId>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Marker<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.marked.contains(&param.id) {
            return;
        }
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let broken = is_broken(&grad).reshape([1; D]).expand(grad.shape());
            self.grads
                .register(param.id, grad.mask_fill(broken, f32::NAN));
        }
    }
}

struct Taker<'a> {
    grads: &'a mut GradientsParams,
    ids: &'a HashSet<ParamId>,
    taken: &'a mut GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Taker<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.ids.contains(&param.id)
            && let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id)
        {
            self.taken.register(param.id, grad);
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
