use crate::MacError;
use crate::config::check;
use crate::curvature::LayerGradient;
use crate::precision::as_dtype;
use burn::optim::LearningRate;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The limit of the KL divergence between a network before and after a step (Ba, Grosse & Martens 2017): preconditioned gradients `v` are
/// multiplied by `min(1, √(κ / (η² Σ v · g)))`, with the gradients `g` before and the sum over all layers that are preconditioned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KlClip {
    /// `κ`.
    limit: f64,
    /// `η`; none for that of the step.
    lr: Option<LearningRate>,
}

/// A [`KlClip`] in a step.
pub(super) struct KlClipOfStep<B: Backend> {
    /// `κ / η²`.
    limit: f64,
    /// `Σ v · g`, `[1]`.
    sum: Option<Tensor<B, 1>>,
}

impl KlClip {
    pub(crate) fn new(limit: Option<f64>, lr: Option<LearningRate>) -> Option<Self> {
        limit.map(|limit| Self { limit, lr })
    }

    pub(crate) fn check(limit: Option<f64>, lr: Option<LearningRate>) -> Result<(), MacError> {
        for (field, value) in [("kl_clip", limit), ("kl_clip_lr", lr)] {
            check(field, value.unwrap_or(1.0), "finite and above 0", |value| {
                value > 0.0 && value.is_finite()
            })?;
        }
        Ok(())
    }

    pub(super) fn check_without_lr(self) -> Result<(), MacError> {
        match self.lr {
            Some(_) => Ok(()),
            None => Err(MacError::InvalidConfig {
                field: "kl_clip_lr",
                value: "none".into(),
                allowed: "a learning rate in a preconditioner by itself, or `kl_clip` none",
            }),
        }
    }

    /// In a step with a learning rate, unless it has its own.
    pub(super) fn of_step<B: Backend>(self, lr: Option<LearningRate>) -> KlClipOfStep<B> {
        // A learning rate of 0 clips nothing.
        let lr = self.lr.or(lr).unwrap_or(0.0);
        KlClipOfStep {
            limit: self.limit / (lr * lr),
            sum: None,
        }
    }
}

impl<B: Backend> KlClipOfStep<B> {
    /// Takes in a layer's gradient before and after it was preconditioned. A layer with a NaN or infinity does not count.
    pub(super) fn observe(&mut self, raw: &LayerGradient<B>, preconditioned: &LayerGradient<B>) {
        let product = raw.dot(preconditioned);
        let broken = product.clone().is_finite().bool_not();
        let product = product.mask_fill(broken, 0.0);
        self.sum = Some(match self.sum.take() {
            Some(sum) => {
                let product = as_dtype(product.to_device(&sum.device()), sum.dtype());
                sum + product
            }
            None => product,
        });
    }

    /// The factor of all layers, `[1]`; none if no layer was preconditioned.
    pub(super) fn factor(self) -> Option<Tensor<B, 1>> {
        let sum = self.sum?;
        let ascends = sum.clone().lower_equal_elem(0.0);
        let factor = (sum.ones_like() / sum).mul_scalar(self.limit).sqrt();
        Some(factor.clamp_max(1.0).mask_fill(ascends, 1.0))
    }
}
