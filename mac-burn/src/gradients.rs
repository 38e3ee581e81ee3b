//! Passes over the gradients of a module, whose ranks only a visitor knows.

use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, MultiGradientsParams};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use std::collections::HashSet;

/// The gradients of a step on their way from the module to the optimizers.
pub(crate) struct Preparation {
    grads: GradientsParams,
    exempt: HashSet<ParamId>,
}

impl Preparation {
    pub(crate) fn new(grads: GradientsParams, exempt: HashSet<ParamId>) -> Self {
        Self { grads, exempt }
    }

    /// Clips each gradient as Burn's optimizers do.
    pub(crate) fn clip<B: AutodiffBackend, M: AutodiffModule<B>>(
        &mut self,
        module: &M,
        clipping: &GradientClipping,
    ) {
        module.visit(&mut Clipper {
            grads: &mut self.grads,
            clipping,
        });
    }

    pub(crate) fn precondition(
        &mut self,
        precondition: impl FnOnce(GradientsParams) -> GradientsParams,
    ) {
        self.grads = precondition(std::mem::take(&mut self.grads));
    }

    /// Turns each gradient that is not finite into NaN throughout, but those that are `marked`.
    pub(crate) fn mark<B: AutodiffBackend, M: AutodiffModule<B>>(
        &mut self,
        module: &M,
        marked: impl Fn(ParamId) -> bool,
    ) {
        module.visit(&mut Marker {
            grads: &mut self.grads,
            marked,
        });
    }

    /// The gradients of parameters with weight decay, and of those without.
    pub(crate) fn split<B: AutodiffBackend, M: AutodiffModule<B>>(
        mut self,
        module: &M,
    ) -> (GradientsParams, GradientsParams) {
        let mut exempt = GradientsParams::new();
        if !self.exempt.is_empty() {
            module.visit(&mut Splitter {
                grads: &mut self.grads,
                ids: &self.exempt,
                exempt: &mut exempt,
            });
        }
        (self.grads, exempt)
    }
}

struct Clipper<'a> {
    grads: &'a mut GradientsParams,
    clipping: &'a GradientClipping,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Clipper<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let grad = self.clipping.clip_gradient(grad);
            self.grads.register(param.id, grad);
        }
    }
}

struct Marker<'a, F> {
    grads: &'a mut GradientsParams,
    marked: F,
}

impl<B: AutodiffBackend, F: Fn(ParamId) -> bool> ModuleVisitor<B> for Marker<'_, F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if (self.marked)(param.id) {
            return;
        }
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            let broken = grad.clone().sum().is_finite().bool_not();
            let broken = broken.reshape([1; D]).expand(grad.shape());
            let grad = grad.mask_fill(broken, f32::NAN);
            self.grads.register(param.id, grad);
        }
    }
}

struct Splitter<'a> {
    grads: &'a mut GradientsParams,
    ids: &'a HashSet<ParamId>,
    exempt: &'a mut GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Splitter<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.ids.contains(&param.id)
            && let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id)
        {
            self.exempt.register(param.id, grad);
        }
    }
}

/// Sums the gradients of several devices, as Burn's optimizers do.
pub(crate) struct Merger {
    from: MultiGradientsParams,
    merged: GradientsParams,
}

impl Merger {
    pub(crate) fn merge<B: AutodiffBackend, M: AutodiffModule<B>>(
        module: &M,
        from: MultiGradientsParams,
    ) -> GradientsParams {
        let mut merger = Self {
            from,
            merged: GradientsParams::new(),
        };
        module.visit(&mut merger);
        merger.merged
    }
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Merger {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some((grad, _)) = self.from.remove::<B::InnerBackend, D>(param.id) {
            self.merged.register(param.id, grad);
        }
    }
}
