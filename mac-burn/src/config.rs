mod curvatures;

pub use curvatures::{CurvatureConfig, EvaConfig, FoofConfig, KfacConfig, SmacConfig};

use crate::patterns::PathPatterns;
use crate::{Mac, MacError, MacOptimizer, MacPreconditioner, StepForm};
use burn::config::{Config, config_to_json};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::AutodiffModule;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Well within the range of `f32`, in which a preconditioner is made.
const SMALLEST_DAMPING: f64 = 1e-30;

/// The curvature of a layer on its input side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InputCurvature {
    /// The paper's, `ā āᵀ + ρ I` with `ā = [x̄ ; 1]` and damping `ρ`. Where the [step](MacConfig::step) is not `Momentum` it is
    /// `x̄ x̄ᵀ + ρ I`, and biases are not preconditioned.
    #[default]
    Mean,
    /// `diag(d) + x̄ x̄ᵀ` with `d = Var x + δ v`: the variance of each input in place of one damping for all. The
    /// [damping](MacConfig::damping) `δ` is relative to the mean variance `v` of the inputs that vary. Gradients keep their scale: the
    /// curvature is divided by the mean of `d`. An input is taken for constant if its variance is below `1e-3` of its mean square, where
    /// that may be rounding; it has the mean of `d` then. Where all inputs of a layer are constant, its gradient stays as it is, but for rounding.
    ///
    /// Biases are not preconditioned. For the values of attention, `Var x` is that of single tokens, weighted by the attention
    /// probabilities. It is larger than the variance of the weighted sums that a query sees.
    MeanVariance,
}

/// The form in which weight decay `λ` enters the update of a parameter.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum WeightDecayForm {
    /// `θ ← (1 − η λ) θ − η v`, as AdamW does and the authors' ImageNet code.
    Decoupled,
    /// `λ θ` is added to the preconditioned gradient, as Burn's SGD does and the authors' CIFAR
    /// code. Only with the step `Momentum`.
    Coupled,
}

/// Configuration of [MAC](Mac), the optimizer of "MAC: An Efficient Gradient Preconditioning using
/// Mean Activation Approximated Curvature" (ICDM 2025, arXiv:2506.08464).
///
/// The [guide](crate::guide) says how to choose them. The defaults are those of the authors' code for ResNets. Their three settings are
/// [`resnet_cifar`](Self::resnet_cifar), [`resnet_imagenet`](Self::resnet_imagenet) and
/// [`vit_imagenet`](Self::vit_imagenet). Three settings go beyond the paper: [`convolutional`](Self::convolutional),
/// [`transformer`](Self::transformer) and [`mlp`](Self::mlp).
///
/// # Damping
///
/// With [`InputCurvature::MeanVariance`] the damping is a multiple of the mean variance of the inputs: leave it at 1. By the default
/// curvature, a gradient's component along a layer's mean input `ā` is multiplied by the gain
/// `ρ / (ρ + ‖ā‖²)`, all others by 1. So compare damping `ρ` with `‖ā‖²`: the `‖x̄‖²` that
/// [`report`](Mac::report) prints, and 1 more with a bias: well below it, the direction that all inputs share is all but
/// removed from the gradient; well above it, MAC is momentum SGD. The length of
/// a step changes otherwise only in a first layer with an [`InputCovariance`](crate::InputCovariance), where it scales with
/// `1/ρ`.
///
/// # Learning rate
///
/// With another [`StepForm`] than `Momentum`, and so with the three settings beyond the paper, start at AdamW's learning rate. With
/// `Momentum` gradients keep their scale, as with SGD and unlike with Adam. So start at SGD's learning rate, with its warm-up and decay,
/// and search a factor of ten both ways. A rate that was tuned for Adam is usually ten to a hundred times too small.
///
/// # What is not covered
///
/// The fields hold for all parameters, preconditioned or not, until the latter are handed to an
/// [auxiliary optimizer](Mac::with_auxiliary_optimizer). Then `momentum` and `weight_decay` are only those of what MAC
/// steps, and `auxiliary_weight_decay` is that of the rest, while `gradient_clipping` and `guard_gradients` hold for all.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct MacConfig {
    /// `ρ`, in [1e-30, ∞]. At infinity nothing is preconditioned: by default MAC is momentum SGD then. With
    /// [`InputCurvature::MeanVariance`] it is `δ`, relative to the mean variance. Default: 1.0
    #[serde(with = "crate::number")]
    pub damping: f64,
    /// The kind of a layer's curvature. Default: the mean of its inputs
    pub curvature: InputCurvature,
    /// The step that is made of the momentum. A record that was written with `Momentum` is not loaded with another step, nor the reverse:
    /// its momentum is of preconditioned gradients with `Momentum` and of raw ones otherwise. Default: the momentum itself
    pub step: StepForm,
    /// Whether the [auxiliary optimizer](Mac::with_auxiliary_optimizer) steps the biases of recorded layers. Their weights are then
    /// preconditioned without the 1 that a bias adds to the inputs. If there is no auxiliary optimizer, biases take MAC's step without
    /// preconditioning. Default: false
    pub auxiliary_biases: bool,
    /// `β`, the decay of the moving averages of the mean activations, in [0, 1). Default: 0.95
    pub stat_decay: f64,
    /// `μ`, in [0, 1). Default: 0.9
    pub momentum: f64,
    /// Whether the step looks ahead along the momentum: `g + μ v` in place of `v`. Default: false
    pub nesterov: bool,
    /// Whether the first step of a parameter looks ahead too: `(1 + μ) g`, as PyTorch's SGD has it, and otherwise `g`, as the authors' code
    /// with Nesterov. Default: true
    pub nesterov_first_step: bool,
    /// `λ`, in [0, ∞). A parameter in half precision is decayed together with its step, in `f32`, and rounded once, see
    /// [`MacOptimizer`]: alone, less than about `η λ = 5e-4` (`f16`) or `4e-3` (`bf16`) may be lost. Default: 0.0
    pub weight_decay: f64,
    /// The form of the weight decay. Default: decoupled
    pub weight_decay_form: WeightDecayForm,
    /// Decoupled weight decay of what the [auxiliary optimizer](Mac::with_auxiliary_optimizer) steps, with its learning rate and before
    /// its step, in [0, ∞); without such an optimizer it is of no effect. Unlike a decay of that optimizer's own, which should be 0 then, it
    /// leaves out what `no_decay` and `no_decay_norms_and_biases` name. Of a parameter in half precision less than about `η λ = 5e-4`
    /// (`f16`) or `4e-3` (`bf16`) is lost. Default: 0.0
    pub auxiliary_weight_decay: f64,
    /// Recorders record every `tcov`-th step's forward passes, the first step's included; at least 1.
    /// Default: 5
    pub tcov: usize,
    /// Every `tinv`-th step takes the moving averages into use, the first step included; at least 1. In a run of a few
    /// hundred steps set it to `tcov` or so: with 50, the means of the first batch stay in use for a good part of such a run.
    /// Default: 50
    pub tinv: usize,
    /// Burn's clipping of each parameter's gradient by itself, before preconditioning. Default: none
    pub gradient_clipping: Option<GradientClippingConfig>,
    /// The largest norm of all gradients together, those of an auxiliary optimizer included, above 0: before they are
    /// preconditioned, all are multiplied by `min(1, max_grad_norm / (‖g‖ + 1e-6))`, as PyTorch's `clip_grad_norm_` does.
    /// Not beside `gradient_clipping`. Default: none
    pub max_grad_norm: Option<f64>,
    /// The same for the norm of all gradients after those of recorded layers were preconditioned. Only with the step `Momentum`.
    /// Default: none
    pub max_preconditioned_norm: Option<f64>,
    /// `ρ` of recorded [embeddings](crate::MacEmbedding), in [1e-30, ∞): rows are multiplied by `ρ / (ρ + p)` with the frequencies `p` of their
    /// tokens, so that frequent tokens take smaller steps. Without it embeddings are left alone on purpose. Default: none
    pub embedding_damping: Option<f64>,
    /// Layers that are not preconditioned, as path patterns: `head`, `blocks.*.mlp`, `**.qkv`. A `*`
    /// stands for one name or a part of it, `**` for any number of names; a pattern covers what it
    /// names and everything below. They go to the [auxiliary
    /// optimizer](Mac::with_auxiliary_optimizer) if there is one. Default: none
    pub skip_layers: Vec<String>,
    /// Parameters without weight decay, as path patterns. Default: none
    pub no_decay: Vec<String>,
    /// Whether norms and biases, that is all parameters of rank 1, have no weight decay. Default:
    /// false
    pub no_decay_norms_and_biases: bool,
    /// Whether a parameter whose gradient is not finite keeps its value and momentum for that step. Off
    /// by default, for what it costs: on flex it makes a step about twice as
    /// long, on wgpu it launches several times the kernels. An [auxiliary
    /// optimizer](Mac::with_auxiliary_optimizer) takes such a gradient as one of zeros into its averages;
    /// the parameter keeps its value all the same. Default: false
    pub guard_gradients: bool,
}

// Written by hand where Burn derives it: JSON has no infinity, which damping may be.
impl Config for MacConfig {}

impl Default for MacConfig {
    fn default() -> Self {
        Self {
            damping: 1.0,
            curvature: InputCurvature::Mean,
            step: StepForm::Momentum,
            auxiliary_biases: false,
            stat_decay: 0.95,
            momentum: 0.9,
            nesterov: false,
            nesterov_first_step: true,
            weight_decay: 0.0,
            weight_decay_form: WeightDecayForm::Decoupled,
            auxiliary_weight_decay: 0.0,
            tcov: 5,
            tinv: 50,
            gradient_clipping: None,
            max_grad_norm: None,
            max_preconditioned_norm: None,
            embedding_damping: None,
            skip_layers: Vec::new(),
            no_decay: Vec::new(),
            no_decay_norms_and_biases: false,
            guard_gradients: false,
        }
    }
}

impl fmt::Display for MacConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&config_to_json(self))
    }
}

impl MacConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`damping`](Self::damping).
    pub fn with_damping(mut self, damping: f64) -> Self {
        self.damping = damping;
        self
    }

    /// Sets [`curvature`](Self::curvature).
    pub fn with_curvature(mut self, curvature: InputCurvature) -> Self {
        self.curvature = curvature;
        self
    }

    /// Sets [`step`](Self::step).
    pub fn with_step(mut self, step: StepForm) -> Self {
        self.step = step;
        self
    }

    /// Sets [`auxiliary_biases`](Self::auxiliary_biases).
    pub fn with_auxiliary_biases(mut self, auxiliary_biases: bool) -> Self {
        self.auxiliary_biases = auxiliary_biases;
        self
    }

    /// Sets [`stat_decay`](Self::stat_decay).
    pub fn with_stat_decay(mut self, stat_decay: f64) -> Self {
        self.stat_decay = stat_decay;
        self
    }

    /// Sets [`momentum`](Self::momentum).
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Sets [`nesterov`](Self::nesterov).
    pub fn with_nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    /// Sets [`nesterov_first_step`](Self::nesterov_first_step).
    pub fn with_nesterov_first_step(mut self, nesterov_first_step: bool) -> Self {
        self.nesterov_first_step = nesterov_first_step;
        self
    }

    /// Sets [`weight_decay`](Self::weight_decay).
    pub fn with_weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// Sets [`weight_decay_form`](Self::weight_decay_form).
    pub fn with_weight_decay_form(mut self, weight_decay_form: WeightDecayForm) -> Self {
        self.weight_decay_form = weight_decay_form;
        self
    }

    /// Sets [`auxiliary_weight_decay`](Self::auxiliary_weight_decay).
    pub fn with_auxiliary_weight_decay(mut self, auxiliary_weight_decay: f64) -> Self {
        self.auxiliary_weight_decay = auxiliary_weight_decay;
        self
    }

    /// Sets [`tcov`](Self::tcov).
    pub fn with_tcov(mut self, tcov: usize) -> Self {
        self.tcov = tcov;
        self
    }

    /// Sets [`tinv`](Self::tinv).
    pub fn with_tinv(mut self, tinv: usize) -> Self {
        self.tinv = tinv;
        self
    }

    /// Sets [`gradient_clipping`](Self::gradient_clipping).
    pub fn with_gradient_clipping(
        mut self,
        gradient_clipping: Option<GradientClippingConfig>,
    ) -> Self {
        self.gradient_clipping = gradient_clipping;
        self
    }

    /// Sets [`max_grad_norm`](Self::max_grad_norm).
    pub fn with_max_grad_norm(mut self, max_grad_norm: Option<f64>) -> Self {
        self.max_grad_norm = max_grad_norm;
        self
    }

    /// Sets [`max_preconditioned_norm`](Self::max_preconditioned_norm).
    pub fn with_max_preconditioned_norm(mut self, max_preconditioned_norm: Option<f64>) -> Self {
        self.max_preconditioned_norm = max_preconditioned_norm;
        self
    }

    /// Sets [`embedding_damping`](Self::embedding_damping).
    pub fn with_embedding_damping(mut self, embedding_damping: Option<f64>) -> Self {
        self.embedding_damping = embedding_damping;
        self
    }

    /// Sets [`skip_layers`](Self::skip_layers).
    pub fn with_skip_layers(mut self, skip_layers: Vec<String>) -> Self {
        self.skip_layers = skip_layers;
        self
    }

    /// Sets [`no_decay`](Self::no_decay).
    pub fn with_no_decay(mut self, no_decay: Vec<String>) -> Self {
        self.no_decay = no_decay;
        self
    }

    /// Sets [`no_decay_norms_and_biases`](Self::no_decay_norms_and_biases).
    pub fn with_no_decay_norms_and_biases(mut self, no_decay_norms_and_biases: bool) -> Self {
        self.no_decay_norms_and_biases = no_decay_norms_and_biases;
        self
    }

    /// Sets [`guard_gradients`](Self::guard_gradients).
    pub fn with_guard_gradients(mut self, guard_gradients: bool) -> Self {
        self.guard_gradients = guard_gradients;
        self
    }

    /// The authors' setting for ResNets on CIFAR, to be used with a learning rate of 0.1.
    pub fn resnet_cifar() -> Self {
        Self::new()
            .with_weight_decay(5e-4)
            .with_weight_decay_form(WeightDecayForm::Coupled)
    }

    /// The authors' setting for ResNets on ImageNet, to be used with a learning rate of 0.5.
    pub fn resnet_imagenet() -> Self {
        Self::new().with_weight_decay(2e-5)
    }

    /// The authors' setting for DeiT and Swin on ImageNet, to be used with a learning rate of 0.5.
    /// Norms, biases, class tokens (`class_token`, `cls_token`), position embeddings
    /// (`position_embedding`, `pos_embed`) and relative position biases (`relative_position_bias`,
    /// `relative_position_bias_table`) have no weight decay.
    pub fn vit_imagenet() -> Self {
        Self::new()
            .with_stat_decay(0.99)
            .with_damping(3.0)
            .with_weight_decay(1e-4)
            .with_tinv(5)
            .with_no_decay(
                [
                    "class_token",
                    "cls_token",
                    "position_embedding",
                    "pos_embed",
                    "relative_position_bias",
                    "relative_position_bias_table",
                ]
                .map(|name| format!("**.{name}"))
                .into(),
            )
            .with_no_decay_norms_and_biases(true)
    }

    /// The setting to try first for a convolutional network: [`InputCurvature::MeanVariance`], [`StepForm::Orthogonal`] with 5 iterations,
    /// momentum 0.95 with Nesterov, decoupled weight decay 0.05, none for norms and biases, `tinv` 5 and `auxiliary_biases`; the rest as by
    /// default.
    ///
    /// It needs an [auxiliary optimizer](Mac::with_auxiliary_optimizer): without one, norms, embeddings and biases take normalized steps
    /// too. Hand it the layer that makes the output as well, by [`skip_layers`](Self::skip_layers), and set
    /// [`auxiliary_weight_decay`](Self::auxiliary_weight_decay) if that layer is to be decayed. Start at AdamW's learning rate, with a
    /// decay to 0, and see the [guide](crate::guide#what-to-try-first).
    pub fn convolutional() -> Self {
        Self::of_known_length(StepForm::Orthogonal { iterations: 5 })
    }

    /// The setting to try first for a transformer: that of [`convolutional`](Self::convolutional), and class tokens and positions have no
    /// weight decay, by the names of [`vit_imagenet`](Self::vit_imagenet). The auxiliary optimizer's learning rate matters more here.
    pub fn transformer() -> Self {
        Self::of_known_length(StepForm::Orthogonal { iterations: 5 })
            .with_no_decay(Self::vit_imagenet().no_decay)
    }

    /// The setting to try first for a network of linear layers alone: that of [`convolutional`](Self::convolutional) with
    /// [`StepForm::RowsAndColumns`]. The products of an orthogonal step may take longer there than those of the network.
    pub fn mlp() -> Self {
        Self::of_known_length(StepForm::RowsAndColumns)
    }

    /// The settings that the three have in common.
    fn of_known_length(step: StepForm) -> Self {
        Self::new()
            .with_curvature(InputCurvature::MeanVariance)
            .with_step(step)
            .with_auxiliary_biases(true)
            .with_momentum(0.95)
            .with_nesterov(true)
            .with_weight_decay(0.05)
            .with_no_decay_norms_and_biases(true)
            .with_tinv(5)
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`MacError::InvalidConfig`] for the first field outside its range.
    pub fn validate(&self) -> Result<(), MacError> {
        check_damping(self.damping)?;
        check_stat_decay(self.stat_decay)?;
        check("momentum", self.momentum, "in [0, 1)", |value| {
            (0.0..1.0).contains(&value)
        })?;
        for (field, decay) in [
            ("weight_decay", self.weight_decay),
            ("auxiliary_weight_decay", self.auxiliary_weight_decay),
        ] {
            check(field, decay, "finite and at least 0", |decay| {
                decay >= 0.0 && decay.is_finite()
            })?;
        }
        if matches!(self.step, StepForm::Orthogonal { iterations: 0 }) {
            return Err(MacError::InvalidConfig {
                field: "step",
                value: format!("{:?}", self.step),
                allowed: "of at least 1 iteration",
            });
        }
        if self.weight_decay > 0.0
            && self.weight_decay_form == WeightDecayForm::Coupled
            && self.step != StepForm::Momentum
        {
            return Err(MacError::InvalidConfig {
                field: "weight_decay_form",
                value: format!("{:?}", self.weight_decay_form),
                allowed: "`Decoupled` where `step` is not `Momentum`, since decay would be normalized with the gradient",
            });
        }
        check("tcov", self.tcov, "at least 1", |value| value >= 1)?;
        check("tinv", self.tinv, "at least 1", |value| value >= 1)?;
        for (field, limit) in [
            ("max_grad_norm", self.max_grad_norm),
            ("max_preconditioned_norm", self.max_preconditioned_norm),
        ] {
            check(field, limit.unwrap_or(1.0), "above 0", |limit| limit > 0.0)?;
        }
        if self.max_grad_norm.is_some() && self.gradient_clipping.is_some() {
            return Err(MacError::InvalidConfig {
                field: "gradient_clipping",
                value: format!("{:?}", self.gradient_clipping),
                allowed: "none beside `max_grad_norm`, since one would undo the other",
            });
        }
        if self.max_preconditioned_norm.is_some() && self.step != StepForm::Momentum {
            return Err(MacError::InvalidConfig {
                field: "max_preconditioned_norm",
                value: format!("{:?}", self.max_preconditioned_norm),
                allowed: "none where `step` is not `Momentum`, since its length is known",
            });
        }
        if let Some(GradientClippingConfig::Norm(limit) | GradientClippingConfig::Value(limit)) =
            self.gradient_clipping
        {
            check("gradient_clipping", limit, "above 0", |value| value > 0.0)?;
        }
        let damping = self.embedding_damping.unwrap_or(1.0);
        check(
            "embedding_damping",
            damping,
            "finite and at least 1e-30",
            |value| value.is_finite() && value >= SMALLEST_DAMPING * (1.0 - 2.0 * f64::EPSILON),
        )?;
        PathPatterns::new("skip_layers", &self.skip_layers)?;
        PathPatterns::new("no_decay", &self.no_decay)?;
        Ok(())
    }

    /// The optimizer.
    ///
    /// # Panics
    ///
    /// With the text of [`try_init`](Self::try_init)'s error.
    pub fn init<B: AutodiffBackend, M: AutodiffModule<B>>(&self) -> Mac<M, B> {
        self.try_init().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The optimizer.
    ///
    /// # Errors
    ///
    /// [`MacError::InvalidConfig`], see [`validate`](Self::validate).
    pub fn try_init<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
    ) -> Result<Mac<M, B>, MacError> {
        Mac::new(self)
    }

    /// The preconditioner alone, to stand in front of any [`Optimizer`](burn::optim::Optimizer). Of the settings of a step it has
    /// none, so [`step`](Self::step) changes nothing.
    ///
    /// # Panics
    ///
    /// With the text of [`try_init_preconditioner`](Self::try_init_preconditioner)'s error.
    pub fn init_preconditioner<B: AutodiffBackend>(&self) -> MacPreconditioner<B> {
        self.try_init_preconditioner()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The preconditioner alone, to stand in front of any [`Optimizer`](burn::optim::Optimizer).
    ///
    /// # Errors
    ///
    /// [`MacError::InvalidConfig`], see [`validate`](Self::validate).
    pub fn try_init_preconditioner<B: AutodiffBackend>(
        &self,
    ) -> Result<MacPreconditioner<B>, MacError> {
        MacPreconditioner::new(self)
    }

    /// The step after preconditioning, for gradients that are preconditioned elsewhere: momentum,
    /// Nesterov and weight decay of one tensor. It knows no curvature and no layers, so every [`step`](Self::step) but `Momentum` is
    /// `Normalized` there.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) returns an error, with its text.
    pub fn optimizer<B: Backend>(&self) -> MacOptimizer<B> {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        MacOptimizer::new(self)
    }
}

pub(crate) fn check_damping(damping: f64) -> Result<(), MacError> {
    check(
        "damping",
        damping,
        "at least 1e-30 (infinity is momentum SGD)",
        // JSON may round it when it is read.
        |value| value >= SMALLEST_DAMPING * (1.0 - 2.0 * f64::EPSILON),
    )
}

pub(crate) fn check_stat_decay(stat_decay: f64) -> Result<(), MacError> {
    check("stat_decay", stat_decay, "in [0, 1)", |value| {
        (0.0..1.0).contains(&value)
    })
}

pub(crate) fn check<T: Copy + ToString>(
    field: &'static str,
    value: T,
    allowed: &'static str,
    is_allowed: impl Fn(T) -> bool,
) -> Result<(), MacError> {
    if is_allowed(value) {
        return Ok(());
    }
    Err(MacError::InvalidConfig {
        field,
        value: value.to_string(),
        allowed,
    })
}

#[cfg(test)]
mod tests;
