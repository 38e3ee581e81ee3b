//! Configurations of the optimizers with other curvatures than MAC's.

use super::{MacConfig, WeightDecayForm, check};
use crate::curvature::{CurvatureKind, GradientScale, KfacDamping, KfacSettings};
use crate::preconditioner::{KlClip, Method};
use crate::statistics::WeightSharing;
use crate::{Mac, MacError, MacPreconditioner};
use burn::config::Config;
use burn::grad_clipping::GradientClippingConfig;
use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;

/// A configuration of a [`Mac`]: [`MacConfig`], or that of another curvature.
pub trait CurvatureConfig {
    /// The settings that are those of MAC too.
    #[doc(hidden)]
    fn common(&self) -> MacConfig;

    #[doc(hidden)]
    fn method(&self) -> sealed::Hidden;
}

/// A type that other crates cannot make, so that [`CurvatureConfig`] is this crate's.
pub(crate) mod sealed {
    use crate::preconditioner::Method;

    #[derive(Debug)]
    pub struct Hidden(pub(crate) Method);
}

impl CurvatureConfig for MacConfig {
    fn common(&self) -> MacConfig {
        self.clone()
    }

    fn method(&self) -> sealed::Hidden {
        sealed::Hidden(Method::of(CurvatureKind::Mac(self.curvature)))
    }
}

/// Declares a configuration: its own fields, and those that all have in common.
macro_rules! curvature_config {
    (
        $(#[$description:meta])*
        $name:ident {
            damping: $damping:tt,
            stat_decay: $stat_decay:tt,
            nesterov: $nesterov:tt,
            nesterov_first_step: $nesterov_first_step:tt,
            weight_decay_form: $weight_decay_form:tt,
            $($(#[$field_attribute:meta])* pub $field:ident: $type:ty,)*
        }
        check($checked:ident) $check:block
        method($config:ident) $method:block
    ) => {
        $(#[$description])*
        #[derive(Config, Debug)]
        pub struct $name {
            #[doc = concat!("`ρ`, in [1e-30, ∞); see the formula above. Default: ", stringify!($damping))]
            #[config(default = $damping)]
            pub damping: f64,
            $($(#[$field_attribute])* pub $field: $type,)*
            #[doc = concat!("`β`, the weight of the old value in moving averages, in [0, 1). Default: ", stringify!($stat_decay))]
            #[config(default = $stat_decay)]
            pub stat_decay: f64,
            /// Recorders record every `tcov`-th step's passes, the first step's included; at least 1. Default: 5
            #[config(default = 5)]
            pub tcov: usize,
            /// Every `tinv`-th step takes the moving averages into use, the first step included; at least 1. Default: 50
            #[config(default = 50)]
            pub tinv: usize,
            /// `μ`, in [0, 1). Default: 0.9
            #[config(default = 0.9)]
            pub momentum: f64,
            #[doc = concat!(
                "Whether the step looks ahead along the momentum: `g + μ v` in place of `v`. Default: ",
                stringify!($nesterov)
            )]
            #[config(default = $nesterov)]
            pub nesterov: bool,
            #[doc = concat!(
                "Whether the first step of a parameter looks ahead too, see [`MacConfig::nesterov_first_step`]. Default: ",
                stringify!($nesterov_first_step)
            )]
            #[config(default = $nesterov_first_step)]
            pub nesterov_first_step: bool,
            /// `λ`, in [0, ∞). Default: 0.0
            #[config(default = 0.0)]
            pub weight_decay: f64,
            #[doc = concat!("The form of the weight decay. Default: `", $weight_decay_form, "`")]
            #[config(default = $weight_decay_form)]
            pub weight_decay_form: WeightDecayForm,
            /// Whether the [auxiliary optimizer](Mac::with_auxiliary_optimizer) steps the biases of recorded layers. Default: false
            #[config(default = false)]
            pub auxiliary_biases: bool,
            /// Decoupled weight decay of what the auxiliary optimizer steps, see [`MacConfig::auxiliary_weight_decay`]. Default: 0.0
            #[config(default = 0.0)]
            pub auxiliary_weight_decay: f64,
            /// Burn's clipping of each parameter's gradient by itself, before preconditioning. Default: none
            pub gradient_clipping: Option<GradientClippingConfig>,
            /// The largest norm of all gradients together, before they are preconditioned, above 0. Default: none
            pub max_grad_norm: Option<f64>,
            /// The same after they were preconditioned. Default: none
            pub max_preconditioned_norm: Option<f64>,
            /// `ρ` of recorded embeddings, see [`MacConfig::embedding_damping`]. Default: none
            pub embedding_damping: Option<f64>,
            /// Layers that are not preconditioned, as path patterns, see [`MacConfig::skip_layers`]. Default: none
            #[config(default = "Vec::new()")]
            pub skip_layers: Vec<String>,
            /// Parameters without weight decay, as path patterns. Default: none
            #[config(default = "Vec::new()")]
            pub no_decay: Vec<String>,
            /// Whether norms and biases, that is all parameters of rank 1, have no weight decay. Default: false
            #[config(default = false)]
            pub no_decay_norms_and_biases: bool,
            /// Whether a parameter whose gradient is not finite keeps its value and momentum for that step, see
            /// [`MacConfig::guard_gradients`]. Default: false
            #[config(default = false)]
            pub guard_gradients: bool,
        }

        impl $name {
            /// These settings with those of a [`MacConfig`] in place of all that both have: what is left are the fields of this curvature
            /// alone. To compare the two by what they differ in.
            pub fn with_settings_of(self, mac: &MacConfig) -> Self {
                Self {
                    damping: mac.damping,
                    stat_decay: mac.stat_decay,
                    tcov: mac.tcov,
                    tinv: mac.tinv,
                    momentum: mac.momentum,
                    nesterov: mac.nesterov,
                    nesterov_first_step: mac.nesterov_first_step,
                    weight_decay: mac.weight_decay,
                    weight_decay_form: mac.weight_decay_form,
                    auxiliary_biases: mac.auxiliary_biases,
                    auxiliary_weight_decay: mac.auxiliary_weight_decay,
                    gradient_clipping: mac.gradient_clipping.clone(),
                    max_grad_norm: mac.max_grad_norm,
                    max_preconditioned_norm: mac.max_preconditioned_norm,
                    embedding_damping: mac.embedding_damping,
                    skip_layers: mac.skip_layers.clone(),
                    no_decay: mac.no_decay.clone(),
                    no_decay_norms_and_biases: mac.no_decay_norms_and_biases,
                    guard_gradients: mac.guard_gradients,
                    ..self
                }
            }

            /// Checks every field.
            ///
            /// # Errors
            ///
            /// [`MacError::InvalidConfig`] for the first field outside its range.
            pub fn validate(&self) -> Result<(), MacError> {
                self.common().validate()?;
                check("damping", self.damping, "finite", f64::is_finite)?;
                let $checked = self;
                $check
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
                self.validate()?;
                Mac::new(self)
            }

            /// The preconditioner alone, to stand in front of any [`Optimizer`](burn::optim::Optimizer).
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
            /// [`MacError::InvalidConfig`], see [`validate`](Self::validate); and for a KL clip without a learning rate of its own,
            /// since a preconditioner does not know that of a step.
            pub fn try_init_preconditioner<B: AutodiffBackend>(
                &self,
            ) -> Result<MacPreconditioner<B>, MacError> {
                self.validate()?;
                self.method().0.check_without_lr()?;
                MacPreconditioner::new(self)
            }
        }

        impl CurvatureConfig for $name {
            fn common(&self) -> MacConfig {
                MacConfig {
                    damping: self.damping,
                    auxiliary_biases: self.auxiliary_biases,
                    stat_decay: self.stat_decay,
                    momentum: self.momentum,
                    nesterov: self.nesterov,
                    nesterov_first_step: self.nesterov_first_step,
                    weight_decay: self.weight_decay,
                    weight_decay_form: self.weight_decay_form,
                    auxiliary_weight_decay: self.auxiliary_weight_decay,
                    tcov: self.tcov,
                    tinv: self.tinv,
                    gradient_clipping: self.gradient_clipping.clone(),
                    max_grad_norm: self.max_grad_norm,
                    max_preconditioned_norm: self.max_preconditioned_norm,
                    embedding_damping: self.embedding_damping,
                    skip_layers: self.skip_layers.clone(),
                    no_decay: self.no_decay.clone(),
                    no_decay_norms_and_biases: self.no_decay_norms_and_biases,
                    guard_gradients: self.guard_gradients,
                    ..MacConfig::new()
                }
            }

            fn method(&self) -> sealed::Hidden {
                let $config = self;
                sealed::Hidden($method)
            }
        }
    };
}

curvature_config! {
    /// Configuration of FOOF (F. Benzing 2022, arXiv:2201.12250): K-FAC with the identity on the output side.
    ///
    /// ```text
    /// G ← G (A + ρ I)⁻¹      A = E[a aᵀ]      a = [x ; 1]
    /// ```
    ///
    /// The second moment `A` of a layer's inputs is a bias-corrected moving average over rows: samples, tokens, or patches, which are unfolded
    /// for as many images at a time as take 32 MB, and copied twice. The values of attention have that of what comes through it. The factor `1/ρ` of the inverse
    /// stays in the step, so the learning rate goes with the damping.
    ///
    /// A layer keeps `2 (size_input + 1)²` numbers, a fused projection of attention twice as many, of its tokens and of what comes through it. At each refresh `A` is read from the device and inverted on the host in `f64`, which waits
    /// for the device: `tinv` is what it costs.
    ///
    /// It makes the same [`Mac`] as [`MacConfig`] does, and is used as that:
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::optim::{GradientsParams, Optimizer};
    /// use mac_burn::{FoofConfig, MacLinear};
    /// # use burn::tensor::Tensor;
    /// # type B = burn::backend::Autodiff<burn::backend::Flex>;
    /// # let device = Default::default();
    /// # let inputs = Tensor::<B, 2>::ones([2, 8], &device);
    ///
    /// let mut model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
    /// let mut optim = FoofConfig::new().init();
    ///
    /// let loss = model.forward(inputs).sum();
    /// let grads = GradientsParams::from_grads(loss.backward(), &model);
    /// model = optim.step(0.1, model, grads);
    /// # assert_eq!(optim.report(&model).covered_parameters, 36);
    /// ```
    FoofConfig {
        damping: 1.0,
        stat_decay: 0.95,
        nesterov: false,
        nesterov_first_step: true,
        weight_decay_form: "WeightDecayForm::Decoupled",
        /// Whether the moving average starts from the identity in place of 0, and is corrected by `1 − βⁿ` all the same: a damping of
        /// `βⁿ / (1 − βⁿ)` more, which fades. As in the authors' code for CIFAR. Default: false
        #[config(default = false)]
        pub identity_start: bool,
    }
    check(_config) { Ok(()) }
    method(config) {
        Method::of(CurvatureKind::Foof {
            identity_start: config.identity_start,
        })
    }
}

curvature_config! {
    /// Configuration of Eva (L. Zhang, S. Shi, B. Li 2023, arXiv:2308.02123): a vector on each side of a layer.
    ///
    /// ```text
    /// G ← (G − ḡᵀ G ā / (‖ā‖² ‖ḡ‖² + ρ) · ḡ āᵀ) / ρ
    /// ```
    ///
    /// `ā = [x̄ ; 1]` is MAC's mean activation and `ḡ` the mean over the same rows of the gradients at the layer's outputs. These are taken as
    /// they flow back: of a mean loss over `N` samples `1/N` of the gradient of a sample's loss. Moving averages start from the first batch,
    /// and nearly are the last one: the decay of 0.05 is that of the authors of MAC.
    ///
    /// A layer keeps `2 (size_input + 1 + size_output)` numbers, and no step waits for the device. It is used as [`FoofConfig`] is.
    EvaConfig {
        damping: 0.03,
        stat_decay: 0.05,
        nesterov: false,
        nesterov_first_step: true,
        weight_decay_form: "WeightDecayForm::Decoupled",
        /// `κ`: all preconditioned gradients `v` of recorded layers are multiplied by `min(1, √(κ / (η² Σ v · g)))`, if that sum over them is
        /// above 0. Above 0, or none. Default: 0.001
        #[config(default = "Some(1e-3)")]
        pub kl_clip: Option<f64>,
        /// The learning rate `η` of the KL clip, above 0; none for that of the step. Without a clip it is of no effect. The authors of MAC have 0.1.
        /// Default: none
        #[config(default = "None")]
        pub kl_clip_lr: Option<f64>,
    }
    check(config) { KlClip::check(config.kl_clip, config.kl_clip_lr) }
    method(config) {
        Method {
            kl_clip: KlClip::new(config.kl_clip, config.kl_clip_lr),
            ..Method::of(CurvatureKind::Eva)
        }
    }
}

curvature_config! {
    /// Configuration of K-FAC (J. Martens, R. Grosse 2015, arXiv:1503.05671).
    ///
    /// ```text
    /// G ← (P + √ρ / π I)⁻¹ G (A + π √ρ I)⁻¹      A = E[a aᵀ]      P = E[g gᵀ]
    /// ```
    ///
    /// `A` is the second moment of a layer's inputs `a = [x ; 1]` and `P` that of the gradients at its outputs, with `π` of [`KfacDamping`].
    /// Moving averages start from the first batch. Projections to queries, keys and values have a `P` each, and the `A` of the values is that of
    /// what comes through attention.
    ///
    /// A layer keeps `2 (size_input + 1)² + 2 size_output²` numbers, a fused projection of attention `5 (size_input + 1)²` and two output factors for
    /// each of its three parts. A pass that is recorded takes half of that, and two such passes are kept, or as many as a layer has in one forward pass; while it is recorded, 96 MB for patches (or three
    /// times those of one image, where they are more), a copy of the input with the 1 of a bias, and one of the gradient at a convolution's output. At each refresh both are read from the device and inverted on the host in `f64`, which waits for
    /// the device. It is used as [`FoofConfig`] is.
    KfacConfig {
        damping: 0.03,
        stat_decay: 0.95,
        nesterov: false,
        nesterov_first_step: true,
        weight_decay_form: "WeightDecayForm::Decoupled",
        /// The rows of convolutions and sequences. Default: each position or token
        #[config(default = "WeightSharing::Expand")]
        pub weight_sharing: WeightSharing,
        /// The damping of the factors. Default: factored Tikhonov damping
        #[config(default = "KfacDamping::FactoredTikhonov")]
        pub factor_damping: KfacDamping,
        /// The scale of the gradients that `P` is made of. Default: that of a loss that is a mean over the samples
        #[config(default = "GradientScale::MeanLoss")]
        pub gradient_scale: GradientScale,
        /// `κ`: all preconditioned gradients `v` of recorded layers are multiplied by `min(1, √(κ / (η² Σ v · g)))`, if that sum over them is
        /// above 0. Above 0, or none. Default: 0.001
        #[config(default = "Some(1e-3)")]
        pub kl_clip: Option<f64>,
        /// The learning rate `η` of the KL clip, above 0; none for that of the step. Without a clip it is of no effect. The authors of MAC have 0.1.
        /// Default: none
        #[config(default = "None")]
        pub kl_clip_lr: Option<f64>,
    }
    check(config) { KlClip::check(config.kl_clip, config.kl_clip_lr) }
    method(config) {
        Method {
            kl_clip: KlClip::new(config.kl_clip, config.kl_clip_lr),
            ..Method::of(CurvatureKind::Kfac(KfacSettings {
                weight_sharing: config.weight_sharing,
                damping: config.factor_damping,
                gradient_scale: config.gradient_scale,
            }))
        }
    }
}

impl KfacConfig {
    /// K-FAC as the authors of MAC compare with it (`cifar10/optimizers/kfac2.py` in their repository): the mean over a sample's positions is a
    /// row, gradients are not scaled, damping stays in the moving averages, the decay is 0.05, and the KL clip has a learning rate of 0.1.
    pub fn of_mac_authors() -> Self {
        Self::new()
            .with_weight_sharing(WeightSharing::Reduce)
            .with_factor_damping(KfacDamping::Accumulated)
            .with_gradient_scale(GradientScale::Unscaled)
            .with_stat_decay(0.05)
            .with_kl_clip_lr(Some(0.1))
    }
}

curvature_config! {
    /// Configuration of SMAC, the later variant of MAC in its authors' repository: MAC on the input side, and a diagonal on the output side.
    ///
    /// ```text
    /// G ← diag(1 / (z + ρ)) G (I − ā āᵀ / (ρ + ‖ā‖²))
    /// ```
    ///
    /// `ā` is MAC's mean activation and `z` the mean square, over the same rows, of the gradients at the layer's outputs as they flow back.
    /// Both are bias-corrected. Fused projections to queries, keys and values have no diagonal, as in the authors' code; separate ones are
    /// layers as any other. The factor `1/ρ` stays in the step.
    ///
    /// A layer keeps `2 size_output` numbers more than with MAC, and no step waits for the device. It is used as [`FoofConfig`] is. By default
    /// the step is that of the authors' code for ImageNet: Nesterov's but the first, and coupled weight decay.
    SmacConfig {
        damping: 1.0,
        stat_decay: 0.95,
        nesterov: true,
        nesterov_first_step: false,
        weight_decay_form: "WeightDecayForm::Coupled",
        /// Whether the diagonal is that of a first layer with an [`InputCovariance`](crate::InputCovariance) too, as in the authors' code for
        /// CIFAR. Default: false
        #[config(default = false)]
        pub scale_first_layer: bool,
    }
    check(_config) { Ok(()) }
    method(config) {
        Method::of(CurvatureKind::Smac {
            scales_first_layer: config.scale_first_layer,
        })
    }
}
