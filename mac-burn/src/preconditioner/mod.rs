mod kl_clip;
mod participants;
mod record;
mod reduction;
mod warnings;

pub(crate) use kl_clip::KlClip;
pub use record::MacPreconditionerRecord;
pub(crate) use record::not_a_record;

use self::kl_clip::KlClipOfStep;
use self::participants::Participant;
use self::record::{Curvatures, Setting};
use self::reduction::Reduction;
use self::warnings::{Warning, Warnings};
use crate::config::{check_damping, check_stat_decay};
use crate::curvature::{CurvatureKind, CurvatureSettings, LayerGradient};
use crate::inventory::Inventory;
use crate::layer::{Layer, LayerKind};
use crate::optimizer::gradients::{Preparation, Prepared};
use crate::patterns::PathPatterns;
use crate::report::Report;
use crate::statistics::{Schedule, enable_backward_hook};
use crate::{CurvatureConfig, InputCovariance, InputCurvature, MacError, StepForm};
use burn::module::{AutodiffModule, ParamId};
use burn::optim::{GradientsParams, LearningRate};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use std::collections::BTreeMap;

/// Turns the gradients of a module with recorded layers into preconditioned gradients.
///
/// For each layer with augmented mean input `ā = [x̄ ; 1]` (no 1 without a bias) and gradient `G`,
/// output index first:
///
/// ```text
/// G ← G (I − ā āᵀ / (ρ + ‖ā‖²))
/// ```
///
/// which is `ρ (ρ I + ā āᵀ)⁻¹` on the input side of `G` (paper, section on the preconditioner). `x̄`
/// is a bias-corrected moving average of the means that the layer's recorder saw, refreshed every
/// `tinv` steps. A layer given an [`InputCovariance`] takes `(C + ρ I)⁻¹` instead. All other
/// gradients pass unchanged, and recorders of layers without a gradient keep what they saw: so several optimizers may
/// share a module, each with the gradients of its own layers
/// ([`GradientsParams::from_params`]).
///
/// It keeps `O(size of the input)` numbers a layer and reads nothing back to the host. With the curvature of another configuration, such as
/// [`KfacConfig`](crate::KfacConfig), it does what that says.
///
/// [`Mac`](crate::Mac) is this in front of [`MacOptimizer`](crate::MacOptimizer); it goes in front
/// of any other [`Optimizer`](burn::optim::Optimizer) as well:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
/// use mac_burn::{MacConfig, MacLinear};
/// # use burn::tensor::Tensor;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// # let inputs = Tensor::<B, 2>::ones([2, 8], &device);
///
/// let mut model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// let mut preconditioner = MacConfig::new().init_preconditioner::<B>();
/// let mut adamw = AdamWConfig::new().init();
///
/// let loss = model.forward(inputs).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &model);
/// let grads = preconditioner.precondition(&model, grads);
/// model = adamw.step(1e-3, model, grads);
/// ```
#[derive(Debug, Clone)]
pub struct MacPreconditioner<B: AutodiffBackend> {
    damping: Setting,
    stat_decay: Setting,
    tcov: u64,
    tinv: u64,
    skip_layers: PathPatterns,
    embedding_damping: Option<f64>,
    method: Method,
    /// Whether biases of recorded layers are the auxiliary optimizer's.
    auxiliary_biases: bool,
    /// Whether the momentum of weights is preconditioned, and not their gradients.
    raw_momentum: bool,
    /// Calls so far.
    step: u64,
    schedule: Schedule,
    curvatures: Curvatures<B>,
    /// A record that waits for the module it belongs to.
    loaded: Option<MacPreconditionerRecord>,
    /// The paths of the layers with a curvature, where they are known.
    paths: BTreeMap<ParamId, String>,
    warnings: Warnings,
    /// The other replicas of a data-parallel training; not in the record.
    reduction: Option<Reduction<B::InnerBackend>>,
}

/// The curvatures of an optimizer, and what is done with what they precondition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    pub(crate) kind: CurvatureKind,
    pub(crate) kl_clip: Option<KlClip>,
}

impl Method {
    /// Curvatures of a kind, without a KL clip.
    pub(crate) fn of(kind: CurvatureKind) -> Self {
        Self {
            kind,
            kl_clip: None,
        }
    }

    /// Checks that it does not depend on the learning rate of a step.
    pub(crate) fn check_without_lr(&self) -> Result<(), MacError> {
        self.kl_clip.map_or(Ok(()), KlClip::check_without_lr)
    }
}

impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// A configuration that was not checked is checked here.
    pub(crate) fn new(config: &impl CurvatureConfig) -> Result<Self, MacError> {
        let method = config.method().0;
        let config = config.common();
        config.validate()?;
        enable_backward_hook::<B, B::InnerBackend>();
        Ok(Self {
            damping: Setting::new(config.damping),
            stat_decay: Setting::new(config.stat_decay),
            tcov: config.tcov as u64,
            tinv: config.tinv as u64,
            skip_layers: PathPatterns::new("skip_layers", &config.skip_layers)?,
            embedding_damping: config.embedding_damping,
            method,
            auxiliary_biases: config.auxiliary_biases,
            raw_momentum: false,
            step: 0,
            schedule: Schedule::new(method.kind.demand()),
            curvatures: Curvatures::<B>::new(),
            loaded: None,
            paths: BTreeMap::new(),
            warnings: Warnings::default(),
            reduction: None,
        })
    }

    /// The preconditioner of [`Mac`](crate::Mac), which leaves the gradients of weights as they are if the step preconditions their momentum.
    pub(crate) fn of_mac(config: &impl CurvatureConfig) -> Result<Self, MacError> {
        Ok(Self {
            raw_momentum: config.common().step != StepForm::Momentum,
            ..Self::new(config)?
        })
    }

    /// A layer without the bias that is the auxiliary optimizer's.
    pub(crate) fn without_auxiliary_bias(&self, layer: Layer) -> Layer {
        layer.with_bias_if(!self.auxiliary_biases)
    }

    fn settings(&self) -> CurvatureSettings {
        let by_variance = self.method.kind == CurvatureKind::Mac(InputCurvature::MeanVariance);
        CurvatureSettings {
            kind: self.method.kind,
            damping: self.damping.current,
            biases: !(by_variance || self.raw_momentum || self.auxiliary_biases),
            embedding_damping: self.embedding_damping,
        }
    }

    /// Preconditions a layer by its measured input covariance, in place of its mean activation.
    ///
    /// # Errors
    ///
    /// If the covariance has seen no batch, or cannot be inverted with the present damping; or if biases are left to the auxiliary
    /// optimizer or the [step](crate::MacConfig::step) is not made of preconditioned gradients.
    pub fn with_input_covariance(
        mut self,
        covariance: &InputCovariance<B>,
    ) -> Result<Self, MacError> {
        self.check_input_covariance()?;
        let curvature = covariance.curvature(self.damping.current)?;
        let curvature = self.settings().of_measured(curvature);
        self.curvatures.insert(curvature.layer().weight, curvature);
        Ok(self)
    }

    /// An input covariance preconditions gradients, and the bias with the weight, and its damping is not relative.
    fn check_input_covariance(&self) -> Result<(), MacError> {
        let (field, value, allowed) = if self.raw_momentum {
            ("step", "another", "`Momentum` beside an input covariance")
        } else if self.method.kind == CurvatureKind::Mac(InputCurvature::MeanVariance) {
            let value = "`MeanVariance`";
            ("curvature", value, "`Mean` beside an input covariance")
        } else if !matches!(
            self.method.kind,
            CurvatureKind::Mac(_) | CurvatureKind::Smac { .. }
        ) {
            let allowed = "that of MAC or SMAC beside an input covariance";
            ("curvature", self.method.kind.name(), allowed)
        } else if self.auxiliary_biases {
            (
                "auxiliary_biases",
                "true",
                "false beside an input covariance",
            )
        } else {
            return Ok(());
        };
        Err(MacError::InvalidConfig {
            field,
            value: value.into(),
            allowed,
        })
    }

    /// Preconditions the gradients of one step, and takes what the recorders of their layers saw since the last.
    ///
    /// Call it once an optimizer step, with the module that made the gradients.
    ///
    /// # Panics
    ///
    /// With the text of [`try_precondition`](Self::try_precondition)'s error.
    pub fn precondition<M: AutodiffModule<B>>(
        &mut self,
        module: &M,
        grads: GradientsParams,
    ) -> GradientsParams {
        self.try_precondition(module, grads)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Preconditions the gradients of one step, as [`precondition`](Self::precondition) does.
    ///
    /// # Errors
    ///
    /// If a loaded record belongs to another model, or one recorder saw the inputs of two weights; or, with
    /// [replicas](Self::with_replicas), if another rank is lost or differs. The preconditioner and the recorders are as before then.
    pub fn try_precondition<M: AutodiffModule<B>>(
        &mut self,
        module: &M,
        mut grads: GradientsParams,
    ) -> Result<GradientsParams, MacError> {
        let mut inventory = Inventory::with_gradients(module, &grads);
        self.run(&mut inventory, &mut grads, &Preparation::none(), None)?;
        Ok(grads)
    }

    /// Prepares and preconditions the gradients of a step, in place and those of layers with a curvature only.
    ///
    /// Takes out of the inventory the layers that another rank does not know yet, or that it is too early to tell of.
    pub(crate) fn run(
        &mut self,
        inventory: &mut Inventory<B>,
        grads: &mut GradientsParams,
        preparation: &Preparation<B>,
        lr: Option<LearningRate>,
    ) -> Result<Prepared<B>, MacError> {
        for position in self.recorders_not_known_to_all(inventory)? {
            inventory.recorders[position].layer = None;
        }
        if !self.step.is_multiple_of(self.tcov) {
            self.forget_layers_seen_for_others(inventory);
        }
        let inventory = &*inventory;
        self.use_loaded_record(inventory)?;
        let mut participants = self.participants(inventory)?;
        self.reduce_statistics(inventory, &mut participants)?;
        self.warn_of_what_has_no_effect(inventory);
        for participant in &participants {
            self.observe(participant, inventory);
            self.end_recording(participant);
        }
        self.end_recording_of_several_maps(inventory);
        self.unsubscribe_from_layers_left_alone(inventory);
        let mut prepared = Prepared::none();
        let mut waiting = Vec::new();
        let mut clip = self.method.kl_clip.map(|clip| clip.of_step(lr));
        let biases = self.settings().biases;
        // In the order of the module: ids are random, and what a backend fuses depends on what follows what.
        for weight in &inventory.parameters {
            let Some(curvature) = self.curvatures.get_mut(&weight.id) else {
                continue;
            };
            if self.skip_layers.cover(weight.layer_path()) {
                continue;
            }
            let is_measured = curvature.is_measured();
            let layer = curvature.layer().with_bias_if(biases || is_measured);
            let Some(mut gradient) = LayerGradient::take(layer, grads) else {
                continue;
            };
            preparation.apply_to_layer(&mut gradient);
            let root = match self.raw_momentum {
                true => curvature.inverse_root(gradient.size_output()),
                false => None,
            };
            match root {
                Some(root) => {
                    prepared.inverse_roots.insert(layer.weight, root);
                }
                // At infinite damping every preconditioner is the identity, the one with a factor 1/ρ too, but those with a damping of their own.
                None if self.damping.current.is_infinite()
                    && layer.kind != LayerKind::Embedding => {}
                None => {
                    let raw = clip.is_some().then(|| gradient.clone());
                    gradient = curvature.precondition(gradient, preparation.guard);
                    if let (Some(clip), Some(raw)) = (&mut clip, raw) {
                        clip.observe(&raw, &gradient);
                    }
                }
            }
            preparation.look_for_broken(&mut gradient);
            for id in layer.parameters() {
                prepared.parameters.insert(id);
                if let Some(broken) = &gradient.broken {
                    prepared.broken.insert(id, broken.clone());
                }
            }
            match clip {
                // Not before it is clipped, since half precision may not hold it.
                Some(_) => waiting.push((layer, gradient)),
                None => gradient.put(layer, grads),
            }
        }
        let factor = clip.and_then(KlClipOfStep::factor);
        for (layer, gradient) in waiting {
            let gradient = match &factor {
                Some(factor) => gradient.scaled(factor),
                None => gradient,
            };
            gradient.put(layer, grads);
        }
        self.step += 1;
        self.schedule.set_due(self.step.is_multiple_of(self.tcov));
        Ok(prepared)
    }

    /// Takes the statistics of a layer into its curvature.
    fn observe(&mut self, participant: &Participant<B>, inventory: &Inventory<B>) {
        let layer = participant.layer;
        let due = self.step.is_multiple_of(self.tcov);
        let (settings, decay) = (self.settings(), self.stat_decay.current);
        // A layer that first takes part between two due steps waits for neither of them.
        let first = !self.curvatures.contains_key(&layer.weight);
        if let Some(statistics) = &participant.statistics
            && (due || first)
        {
            if first && let Some(curvature) = settings.curvature(layer, statistics) {
                self.curvatures.insert(layer.weight, curvature);
                self.paths.insert(layer.weight, inventory.path_of(layer));
            }
            let curvature = self.curvatures.get_mut(&layer.weight);
            let batches = curvature.and_then(|curvature| curvature.observe(statistics, decay));
            if let Some(batches) = batches {
                self.warn_if_mostly_rejected(layer.weight, batches);
            }
        }
        match self.curvatures.get_mut(&layer.weight) {
            Some(curvature) if first || self.step.is_multiple_of(self.tinv) => {
                curvature.refresh(self.step + 1);
            }
            Some(_) => {}
            None => self
                .warnings
                .warn(Warning::NothingRecorded(layer.weight), || {
                    format!(
                        "`{}` has a gradient, but no forward pass of it was recorded with what {} is made of: \
                     its gradient is not preconditioned",
                        inventory.path_of(layer),
                        self.method.kind.name()
                    )
                }),
        }
    }
}

/// Records.
impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Everything that the next call depends on.
    pub fn to_record(&self) -> MacPreconditionerRecord {
        let own = self.curvatures.iter().map(|(weight, curvature)| {
            let record = curvature.to_record();
            if let Some(batches) = record.batches() {
                self.warn_if_mostly_rejected(*weight, batches);
            }
            record
        });
        let settings = (self.damping, self.stat_decay);
        match &self.loaded {
            Some(waiting) => waiting.clone().updated(settings, own),
            None => {
                MacPreconditionerRecord::new(self.step, settings, own.collect(), self.raw_momentum)
            }
        }
    }

    /// Continues from a record.
    ///
    /// Settings are those of the configuration, as with Burn's optimizers. Damping and stat_decay may be
    /// [changed](Self::set_damping) during training, so they are a part of the state as well: the record's values hold, unless
    /// the configuration has another value than that which the record was written under. So a run continues as it was, and
    /// a run that is configured with another damping has it. Input covariances are the record's; one that is
    /// [measured](Self::with_input_covariance) after this replaces that of its layer.
    ///
    /// Whether the record belongs to the model is found out at the next call of
    /// [`precondition`](Self::precondition); [`try_load_record`](Self::try_load_record) tells at
    /// once.
    ///
    /// # Panics
    ///
    /// If the record has another version.
    pub fn load_record(self, record: MacPreconditionerRecord) -> Self {
        self.load(record).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Continues from a record of `module`'s preconditioner.
    ///
    /// # Errors
    ///
    /// If the record has another version or belongs to another model.
    pub fn try_load_record<M: AutodiffModule<B>>(
        self,
        record: MacPreconditionerRecord,
        module: &M,
    ) -> Result<Self, MacError> {
        let mut loaded = self.load(record)?;
        loaded.use_loaded_record(&Inventory::of(module))?;
        Ok(loaded)
    }

    pub(crate) fn load(mut self, record: MacPreconditionerRecord) -> Result<Self, MacError> {
        record.check()?;
        record.check_momentum(self.raw_momentum)?;
        record.check_curvature(self.method.kind)?;
        let (damping, stat_decay) = record.settings();
        self.damping = self.damping.resumed(damping, "damping");
        self.stat_decay = self.stat_decay.resumed(stat_decay, "stat_decay");
        self.step = record.step();
        if let Some(reduction) = &mut self.reduction {
            reduction.begin();
        }
        // The next step may be one of another model.
        self.schedule = Schedule::new(self.method.kind.demand());
        self.curvatures.clear();
        self.loaded = Some(record);
        Ok(self)
    }

    /// Takes a loaded record into use, now that its module is known.
    pub(crate) fn use_loaded_record(&mut self, inventory: &Inventory<B>) -> Result<(), MacError> {
        let Some(record) = self.loaded.take() else {
            return Ok(());
        };
        let restored = match record.has_input_covariance() {
            true => self.check_input_covariance(),
            false => Ok(()),
        };
        let settings = self.settings();
        match restored.and_then(|()| record.clone().restore(inventory, settings)) {
            Ok(mut curvatures) => {
                let weights = curvatures.iter();
                self.paths = weights
                    .map(|(weight, curvature)| (*weight, inventory.path_of(curvature.layer())))
                    .collect();
                // What was measured since the record was loaded replaces it.
                curvatures.append(&mut self.curvatures);
                self.curvatures = curvatures;
                Ok(())
            }
            Err(error) => {
                self.loaded = Some(record);
                Err(error)
            }
        }
    }

    /// This preconditioner with a waiting record in use. None if no record waits, or if it belongs to another model, which
    /// the next step tells.
    pub(crate) fn with_record_in_use(&self, inventory: &Inventory<B>) -> Option<Self> {
        self.loaded.as_ref()?;
        let mut resumed = Self {
            warnings: self.warnings.shared(),
            ..self.clone()
        };
        resumed.use_loaded_record(inventory).ok()?;
        Some(resumed)
    }
}

/// Settings and readings.
impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Changes the damping `ρ` from the next step on.
    ///
    /// A layer with an [`InputCovariance`](crate::InputCovariance) is inverted again on the host, `O(size³)`, and so are those of FOOF and K-FAC, whose
    /// averages are read from the device for that, with what was recorded since the last refresh. One of these that cannot be inverted keeps its inverse, as at a refresh.
    ///
    /// # Errors
    ///
    /// If it is outside its range, or an input covariance cannot be inverted with it; nothing is
    /// changed then.
    pub fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        check_damping(damping)?;
        let mut curvatures = self.curvatures.clone();
        curvatures
            .values_mut()
            .try_for_each(|curvature| curvature.set_damping(damping))?;
        self.curvatures = curvatures;
        self.damping.current = damping;
        Ok(())
    }

    /// Changes the decay `β` of the moving averages from the next step on.
    ///
    /// # Errors
    ///
    /// If it is outside [0, 1); nothing is changed then.
    pub fn set_stat_decay(&mut self, stat_decay: f64) -> Result<(), MacError> {
        check_stat_decay(stat_decay)?;
        self.stat_decay.current = stat_decay;
        Ok(())
    }

    /// The damping `ρ` in use.
    pub fn damping(&self) -> f64 {
        self.damping.current
    }

    /// The decay `β` of the moving averages in use.
    pub fn stat_decay(&self) -> f64 {
        self.stat_decay.current
    }

    /// The moving average of `[x̄ ; 1]` of the layer with this weight, not bias-corrected.
    ///
    /// # Shapes
    ///
    /// - output: `[means, size + 1]`: one mean for a `Linear`, one a group for a `Conv2d`, two (of the
    ///   tokens, and through attention) for the fused projection of a `SelfAttention`
    pub fn activation_ema(&self, weight: ParamId) -> Option<Tensor<B::InnerBackend, 2>> {
        Some(self.curvatures.get(&weight)?.mean_activation()?.ema())
    }

    /// The mean activation `[x̄ ; 1]` that the layer with this weight is preconditioned by.
    ///
    /// # Shapes
    ///
    /// - output: `[means, size + 1]`
    pub fn mean_activation(&self, weight: ParamId) -> Option<Tensor<B::InnerBackend, 2>> {
        self.curvatures.get(&weight)?.mean_activation()?.mean()
    }

    /// A report of the layers covered and the updates seen. Reads from the device: not for every step.
    pub fn report<M: AutodiffModule<B>>(&self, module: &M) -> Report {
        let inventory = Inventory::of(module);
        let resumed = self.with_record_in_use(&inventory);
        Report::new(&inventory, resumed.as_ref().unwrap_or(self))
    }

    pub(crate) fn curvatures(&self) -> &Curvatures<B> {
        &self.curvatures
    }

    pub(crate) fn skips(&self, layer_path: &str) -> bool {
        self.skip_layers.cover(layer_path)
    }

    /// Whether a layer with a recorder is not preconditioned.
    pub(crate) fn leaves_alone(&self, layer: Layer, layer_path: &str) -> bool {
        self.skips(layer_path) || self.leaves_embedding_alone(layer)
    }

    /// Whether a layer is an embedding, and the frequencies of tokens are not asked for.
    fn leaves_embedding_alone(&self, layer: Layer) -> bool {
        layer.kind == LayerKind::Embedding && self.embedding_damping.is_none()
    }
}
