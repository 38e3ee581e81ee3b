use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

/// The gradients of one backward pass, to be copied for every step.
///
/// A step may work in place only on tensors that nobody else holds, as those of a backward pass are.
pub(crate) struct Gradients {
    original: GradientsParams,
    selected: Option<Vec<ParamId>>,
}

impl Gradients {
    /// `selected` are the parameters to be stepped; all of them if it is `None`.
    pub(crate) fn of<B: AutodiffBackend, M: AutodiffModule<B>>(
        module: &M,
        output: Tensor<B, 2>,
        selected: Option<Vec<ParamId>>,
    ) -> Self {
        let gradients = output.square().mean().backward();
        Self {
            original: GradientsParams::from_grads(gradients, module),
            selected,
        }
    }

    /// Deep copies.
    pub(crate) fn copy<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        module: &M,
    ) -> GradientsParams {
        let mut copier = self.copier();
        module.visit(&mut copier);
        copier.copies
    }

    /// How many numbers are stepped.
    pub(crate) fn num_elements<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        module: &M,
    ) -> usize {
        let mut copier = self.copier();
        module.visit(&mut copier);
        copier.elements
    }

    fn copier(&self) -> Copier<'_> {
        Copier {
            from: self,
            copies: GradientsParams::new(),
            elements: 0,
        }
    }
}

struct Copier<'a> {
    from: &'a Gradients,
    copies: GradientsParams,
    elements: usize,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Copier<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let selected = self.from.selected.as_ref();
        if selected.is_some_and(|selected| !selected.contains(&param.id)) {
            return;
        }
        if let Some(gradient) = self.from.original.get::<B::InnerBackend, D>(param.id) {
            self.elements += gradient.shape().num_elements();
            // The original is held, so this cannot be done in place: the result is a copy.
            self.copies.register(param.id, gradient.mul_scalar(1.0));
        }
    }
}
