mod auxiliary;
pub(crate) mod gradients;
mod mac_optimizer;
mod parameter_steps;
mod record;
mod step_form;

pub use auxiliary::{AuxiliaryOptimizerReport, NoAuxiliaryOptimizer, NoAuxiliaryOptimizerState};
pub use mac_optimizer::{MacOptimizer, MacOptimizerState};
pub use parameter_steps::ParameterState;
pub use record::{MacRecord, MacRecordItem};
pub use step_form::StepForm;

use self::auxiliary::{Auxiliary, AuxiliaryRate};
use self::gradients::Preparation;
use self::parameter_steps::{ParameterStates, ParameterSteps};
use crate::inventory::Inventory;
use crate::patterns::PathPatterns;
use crate::precision::bytes;
use crate::replicas::Replicas;
use crate::report::Report;
use crate::{CurvatureConfig, InputCovariance, MacError, MacPreconditioner};
use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{
    GradientsParams, LearningRate, MultiGradientsParams, Optimizer, SimpleOptimizer,
};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use std::collections::HashSet;
use std::marker::PhantomData;

/// The MAC optimizer: [`MacPreconditioner`] in front of [`MacOptimizer`].
///
/// It is one of Burn's optimizers: it goes into `Learner::new(model, optim, lr_scheduler)` and into
/// a loop of your own alike. In a step, each gradient is clipped (if so configured), preconditioned
/// and handed to momentum and weight decay. With a [step](crate::MacConfig::step) of known length it is the momentum that is
/// preconditioned. No step waits for an accelerator.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{GradientsParams, Optimizer};
/// use mac_burn::{MacConfig, MacLinear};
/// # use burn::tensor::Tensor;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// # let inputs = Tensor::<B, 2>::ones([2, 8], &device);
///
/// let mut model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// let mut optim = MacConfig::new().init();
///
/// let loss = model.forward(inputs).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &model);
/// model = optim.step(0.1, model, grads);
/// println!("{}", optim.report(&model));
/// ```
///
/// `step` and `step_multi` take the statistics of all devices that the module was cloned to since the last step. So both of
/// Burn's `MultiDeviceOptim`s have the whole batch's mean. With data-parallel workers that share no state (`DDP`) each
/// worker has its own share's mean, so that their copies drift apart by what the shares differ: give each the
/// [replicas](crate::replicas) by [`with_replicas`](Self::with_replicas).
///
/// A recorded layer that has no statistic takes the step without preconditioning, with `Momentum` that of SGD. So does all of a module
/// without a recorded layer, unless there is an auxiliary optimizer, whose step it takes then. Either is said once by
/// `log` and in [`report`](Self::report).
///
/// Two more conditions are logged once as warnings: at the first step, that less than a fifth of the parameters with a
/// gradient are in recorded layers (not if there is an auxiliary optimizer, which a network of mostly embeddings is meant to
/// have, and not for [`skip_layers`](crate::MacConfig::skip_layers)); and that more than half of a layer's statistics, of
/// four at least, were not finite. An accelerator knows the latter, so it is told where a step waits for nothing: in
/// `report` and `to_record`, on a processor in the step as well.
///
/// # An auxiliary optimizer
///
/// The step without preconditioning is also that of what no recorder covers: embeddings, norms, position embeddings,
/// class tokens. [`with_auxiliary_optimizer`](Self::with_auxiliary_optimizer) hands these to another
/// optimizer, whose type is `O`: any [`SimpleOptimizer`] that takes parameters of every rank (`AdamW`,
/// `Adam`, `Sgd`, …).
///
/// # Panics
///
/// - At the first step after [`load_record`](Optimizer::load_record), if the record belongs to another model.
/// - In `load_record`, if the record has another version, or the state of an auxiliary optimizer where this has none or the
///   other way round.
/// - In a step, if one recorder saw the inputs of two weights; or, with [replicas](crate::replicas), if another rank is lost or differs.
///
/// The text is that of a [`MacError`]. [`try_load_record`](Self::try_load_record) returns the first two as errors,
/// [`try_step`](Self::try_step) those of a step.
#[derive(Clone)]
pub struct Mac<M, B, O = NoAuxiliaryOptimizer>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    preconditioner: MacPreconditioner<B>,
    optimizer: MacOptimizer<B::InnerBackend>,
    auxiliary: Option<Auxiliary<O>>,
    states: ParameterStates<B, O>,
    auxiliary_weight_decay: f64,
    no_decay: PathPatterns,
    no_decay_norms_and_biases: bool,
    clipping: Option<GradientClipping>,
    max_grad_norm: Option<f64>,
    max_preconditioned_norm: Option<f64>,
    guard: bool,
    /// Whether a loaded record has yet to be compared with the module.
    unverified: bool,
    module: PhantomData<M>,
}

impl<M, B> Mac<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    pub(crate) fn new(config: &impl CurvatureConfig) -> Result<Self, MacError> {
        let preconditioner = MacPreconditioner::of_mac(config)?;
        let config = config.common();
        let clipping = config.gradient_clipping.as_ref();
        Ok(Self {
            preconditioner,
            optimizer: MacOptimizer::new(&config),
            auxiliary: None,
            states: ParameterStates::<B, _>::new(),
            auxiliary_weight_decay: config.auxiliary_weight_decay,
            no_decay: PathPatterns::new("no_decay", &config.no_decay)?,
            no_decay_norms_and_biases: config.no_decay_norms_and_biases,
            clipping: clipping.map(|clipping| clipping.init()),
            max_grad_norm: config.max_grad_norm,
            max_preconditioned_norm: config.max_preconditioned_norm,
            guard: config.guard_gradients,
            unverified: false,
            module: PhantomData,
        })
    }
}

/// The step.
impl<M, B, O> Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// Takes a step, as [`step`](Optimizer::step) does.
    ///
    /// # Errors
    ///
    /// If a loaded record belongs to another model, or one recorder saw the inputs of two weights; or, with
    /// [replicas](Self::with_replicas), if another rank is lost or differs. The optimizer is as before then; the module is gone, but for
    /// clones of it.
    pub fn try_step(
        &mut self,
        lr: LearningRate,
        module: M,
        mut grads: GradientsParams,
    ) -> Result<M, MacError> {
        let mut inventory = Inventory::with_gradients(&module, &grads);
        self.verify(&inventory)?;
        let norm_factor = |grads: &GradientsParams, limit: Option<f64>| {
            gradients::norm_factor(&module, grads, limit?, self.guard)
        };
        let preparation = Preparation {
            clipping: self.clipping.clone(),
            factor: norm_factor(&grads, self.max_grad_norm),
            guard: self.guard,
        };
        let mut prepared =
            self.preconditioner
                .run(&mut inventory, &mut grads, &preparation, Some(lr))?;
        if self.auxiliary.is_none() {
            self.preconditioner.warn_of_low_coverage(&inventory);
        }
        if self.max_preconditioned_norm.is_some() {
            gradients::prepare_rest(&module, &mut grads, &preparation, &mut prepared);
            if let Some(factor) = norm_factor(&grads, self.max_preconditioned_norm) {
                gradients::scale_all(&module, &mut grads, factor);
            }
        }
        let mut steps = ParameterSteps {
            lr,
            optimizer: &self.optimizer,
            auxiliary: self.auxiliary.as_ref(),
            states: &mut self.states,
            grads,
            prepared,
            preparation: &preparation,
            uncovered: &match self.auxiliary {
                Some(_) => uncovered(&inventory, &self.preconditioner),
                None => HashSet::new(),
            },
            auxiliary_weight_decay: self.auxiliary_weight_decay,
            no_decay: &no_decay(&inventory, &self.no_decay, self.no_decay_norms_and_biases),
        };
        Ok(module.map(&mut steps))
    }
}

/// The parameters without weight decay.
fn no_decay<B: AutodiffBackend>(
    inventory: &Inventory<B>,
    patterns: &PathPatterns,
    norms_and_biases: bool,
) -> HashSet<ParamId> {
    let exempt = inventory.parameters.iter().filter(|parameter| {
        (norms_and_biases && parameter.shape.len() <= 1) || patterns.cover(&parameter.path)
    });
    exempt.map(|parameter| parameter.id).collect()
}

/// The parameters of no layer that is preconditioned: not recorded, skipped, or with a frozen weight.
fn uncovered<B: AutodiffBackend>(
    inventory: &Inventory<B>,
    preconditioner: &MacPreconditioner<B>,
) -> HashSet<ParamId> {
    let covered: HashSet<ParamId> = preconditioner
        .known_layers(inventory)
        .filter(|layer| {
            let weight = inventory.parameter(layer.weight);
            weight.is_some_and(|weight| {
                let path = weight.layer_path();
                weight.trained && !preconditioner.leaves_alone(*layer, path)
            })
        })
        .flat_map(|layer| {
            preconditioner
                .without_auxiliary_bias(layer)
                .parameters()
                .collect::<Vec<_>>()
        })
        .collect();
    let all = inventory.parameters.iter().map(|parameter| parameter.id);
    all.filter(|id| !covered.contains(id)).collect()
}

impl<M, B, O> Optimizer<M, B> for Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    type Record = MacRecord<B, O>;

    fn step(&mut self, lr: LearningRate, module: M, grads: GradientsParams) -> M {
        self.try_step(lr, module, grads)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn step_multi(&mut self, lr: LearningRate, module: M, grads: MultiGradientsParams) -> M {
        let grads = gradients::merge(&module, grads);
        self.step(lr, module, grads)
    }

    fn to_record(&self) -> Self::Record {
        MacRecord {
            preconditioner: self.preconditioner.to_record(),
            states: self.states.clone(),
            auxiliary_lr_factor: self
                .auxiliary
                .as_ref()
                .map(|auxiliary| auxiliary.rate().factor),
        }
    }

    fn load_record(self, record: Self::Record) -> Self {
        self.load(record).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The auxiliary optimizer.
impl<M, B, O> Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// Hands the parameters that MAC does not cover to an auxiliary optimizer, which steps with `lr_factor`
    /// times the learning rate. It is any [`SimpleOptimizer`] that takes parameters of every rank that is
    /// left to it: `AdamW`, `Adam`, `Sgd`, … of Burn's.
    ///
    /// These are the parameters of no recorded layer: embeddings, norms, class tokens, plain `Linear`s;
    /// those of layers that [`skip_layers`](crate::MacConfig::skip_layers) names; recorded embeddings without an
    /// [`embedding_damping`](crate::MacConfig::embedding_damping); and biases of transposed convolutions. Any other recorded layer's
    /// bias stays with its weight, unless [`auxiliary_biases`](crate::MacConfig::auxiliary_biases) hands it over. Of MAC's settings,
    /// those that hold for the parameters handed over are clipping, before the auxiliary optimizer's own, and
    /// [`auxiliary_weight_decay`](crate::MacConfig::auxiliary_weight_decay), which knows the exemptions that a decay of
    /// the auxiliary optimizer's own does not. With [`guard_gradients`](crate::MacConfig::guard_gradients), a parameter whose
    /// gradient is not finite keeps its value; to the averages of the auxiliary optimizer, which only it
    /// knows, the gradient is one of zeros.
    ///
    /// Only a record that was written with an auxiliary optimizer is loaded into an optimizer that has one. To
    /// add one to a run, load the record first. A second call replaces the first's optimizer.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, LinearConfig};
    /// use burn::optim::{AdamW, AdamWConfig, GradientsParams, Optimizer};
    /// use burn::tensor::{Int, Tensor, backend::Backend};
    /// use mac_burn::{Mac, MacConfig, MacError, MacLinear};
    /// # type B = burn::backend::Autodiff<burn::backend::Flex>;
    ///
    /// #[derive(Module, Debug)]
    /// struct Model<B: Backend> {
    ///     embedding: Embedding<B>,
    ///     norm: LayerNorm<B>,
    ///     output: MacLinear<B>,
    /// }
    ///
    /// # fn main() -> Result<(), MacError> {
    /// # let device = Default::default();
    /// let mut model = Model::<B> {
    ///     embedding: EmbeddingConfig::new(100, 16).init(&device),
    ///     norm: LayerNormConfig::new(16).init(&device),
    ///     output: LinearConfig::new(16, 100).init(&device).into(),
    /// };
    /// // MAC steps `output` with 0.1, AdamW the other two with 0.001.
    /// let adamw = AdamWConfig::new().with_weight_decay(0.01).init();
    /// let mut optim: Mac<Model<B>, B, AdamW> =
    ///     MacConfig::new().init().with_auxiliary_optimizer(adamw, 0.01)?;
    ///
    /// # let words = Tensor::<B, 2, Int>::ones([2, 8], &device);
    /// let hidden = model.norm.forward(model.embedding.forward(words));
    /// let loss = model.output.forward(hidden).square().mean();
    /// let grads = GradientsParams::from_grads(loss.backward(), &model);
    /// model = optim.step(0.1, model, grads);
    /// # let auxiliary = optim.report(&model).auxiliary_optimizer.expect("there is one");
    /// # assert_eq!(auxiliary.paths, ["embedding.weight", "norm.gamma", "norm.beta"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MacError::InvalidConfig`] if `lr_factor` is not finite or not above 0.
    ///
    /// # Panics
    ///
    /// Not here, but in a step: if the auxiliary optimizer does not take a parameter's rank. Burn's `Muon`
    /// takes matrices only, so it panics at a norm or a bias.
    pub fn with_auxiliary_optimizer<P>(
        self,
        optimizer: OptimizerAdaptor<P, M, B>,
        lr_factor: f64,
    ) -> Result<Mac<M, B, P>, MacError>
    where
        P: SimpleOptimizer<B::InnerBackend>,
    {
        let auxiliary = Auxiliary::new(&optimizer, lr_factor)?;
        let mut states = ParameterStates::<B, P>::new();
        for (id, state) in self.states {
            if let ParameterState::Mac(state) = state {
                states.insert(id, ParameterState::Mac(state));
            }
        }
        for (id, state) in optimizer.to_record() {
            states.insert(id, ParameterState::Auxiliary(state));
        }
        Ok(Mac {
            preconditioner: self.preconditioner,
            optimizer: self.optimizer,
            auxiliary: Some(auxiliary),
            states,
            auxiliary_weight_decay: self.auxiliary_weight_decay,
            no_decay: self.no_decay,
            no_decay_norms_and_biases: self.no_decay_norms_and_biases,
            clipping: self.clipping,
            max_grad_norm: self.max_grad_norm,
            max_preconditioned_norm: self.max_preconditioned_norm,
            guard: self.guard,
            unverified: self.unverified,
            module: PhantomData,
        })
    }

    /// Changes the learning-rate factor of the auxiliary optimizer from the next step on. It is part of
    /// the record.
    ///
    /// # Errors
    ///
    /// If it is not finite or not above 0, or there is no auxiliary optimizer; nothing is changed then.
    pub fn set_auxiliary_lr_factor(&mut self, lr_factor: f64) -> Result<(), MacError> {
        let auxiliary = self.auxiliary.as_mut();
        let auxiliary = auxiliary.ok_or(MacError::NoAuxiliaryOptimizer)?;
        auxiliary.set_lr_factor(lr_factor)
    }

    /// Sets the learning rate of the auxiliary optimizer from the next step on, in place of `lr_factor` times the `lr` given to
    /// [`step`](Optimizer::step). It stays until it is changed, so call this before each step for a schedule of its own. It is not part of
    /// the record: after [`set_auxiliary_lr_factor`](Self::set_auxiliary_lr_factor), or when a record is loaded, the factor holds again.
    ///
    /// # Errors
    ///
    /// [`MacError::InvalidConfig`] if it is not finite or below 0, [`MacError::NoAuxiliaryOptimizer`] if there is none; nothing is changed
    /// then.
    pub fn set_auxiliary_lr(&mut self, lr: LearningRate) -> Result<(), MacError> {
        let auxiliary = self.auxiliary.as_mut();
        let auxiliary = auxiliary.ok_or(MacError::NoAuxiliaryOptimizer)?;
        auxiliary.set_lr(lr)
    }
}

/// Records.
impl<M, B, O> Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// Continues from a record of the optimizer of `module`, as [`load_record`](Optimizer::load_record) does. Which settings
    /// are the record's, [`MacPreconditioner::load_record`] tells; the learning-rate factor of the auxiliary optimizer is.
    ///
    /// # Errors
    ///
    /// If the record has another version or belongs to another model, or only one of the two has an auxiliary optimizer.
    pub fn try_load_record(self, record: MacRecord<B, O>, module: &M) -> Result<Self, MacError> {
        let mut loaded = self.load(record)?;
        loaded.verify(&Inventory::of(module))?;
        Ok(loaded)
    }

    /// Takes a record over as far as that can be done without its module.
    fn load(mut self, record: MacRecord<B, O>) -> Result<Self, MacError> {
        record.preconditioner.check()?;
        match (&mut self.auxiliary, record.auxiliary_lr_factor) {
            (Some(auxiliary), Some(factor)) => auxiliary.resume(factor),
            (None, None) => {}
            (None, Some(_)) => return Err(MacError::RecordWithAuxiliaryOptimizer),
            (Some(_), None) => return Err(MacError::RecordWithoutAuxiliaryOptimizer),
        }
        Ok(Self {
            preconditioner: self.preconditioner.load(record.preconditioner)?,
            states: record.states,
            unverified: true,
            ..self
        })
    }

    /// Compares a loaded record with the module it is used for.
    fn verify(&mut self, inventory: &Inventory<B>) -> Result<(), MacError> {
        if !self.unverified {
            return Ok(());
        }
        check_states(&self.states, inventory)?;
        self.preconditioner.use_loaded_record(inventory)?;
        self.unverified = false;
        Ok(())
    }
}

/// Checks that all states belong to parameters of the module.
fn check_states<B, O>(
    states: &ParameterStates<B, O>,
    inventory: &Inventory<B>,
) -> Result<(), MacError>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    let mut states = states.iter();
    let Some((_, state)) = states.find(|(id, _)| inventory.parameter(**id).is_none()) else {
        return Ok(());
    };
    let state = match state {
        ParameterState::Mac(_) => "momentum",
        ParameterState::Auxiliary(_) => "auxiliary optimizer's state",
    };
    Err(MacError::RecordOfAnotherModel {
        problem: format!("it has the {state} of a parameter that the module does not have"),
    })
}

/// Settings and readings.
impl<M, B, O> Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// Preconditions a layer by its measured input covariance, in place of its mean activation.
    ///
    /// # Errors
    ///
    /// [`MacError::InvalidConfig`] if the [step](crate::MacConfig::step) is not `Momentum`, the
    /// [curvature](crate::MacConfig::curvature) not `Mean`, or [`auxiliary_biases`](crate::MacConfig::auxiliary_biases) set; or if the covariance has seen no batch, or cannot be inverted
    /// with the present damping.
    pub fn with_input_covariance(
        mut self,
        covariance: &InputCovariance<B>,
    ) -> Result<Self, MacError> {
        self.preconditioner = self.preconditioner.with_input_covariance(covariance)?;
        Ok(self)
    }

    /// Changes the damping `ρ` from the next step on, see [`MacPreconditioner::set_damping`].
    ///
    /// # Errors
    ///
    /// If it is outside its range, or an input covariance cannot be inverted with it; nothing is
    /// changed then.
    pub fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        self.preconditioner.set_damping(damping)
    }

    /// Changes the decay `β` of the moving averages from the next step on.
    ///
    /// # Errors
    ///
    /// If it is outside [0, 1); nothing is changed then.
    pub fn set_stat_decay(&mut self, stat_decay: f64) -> Result<(), MacError> {
        self.preconditioner.set_stat_decay(stat_decay)
    }

    /// Sums the statistics of each recording step over all [replicas](crate::replicas) of a data-parallel training, so that all take the same
    /// steps: see [`MacPreconditioner::with_replicas`].
    pub fn with_replicas(mut self, replicas: Replicas<B::InnerBackend>) -> Self {
        self.preconditioner = self.preconditioner.with_replicas(replicas);
        self
    }

    /// The preconditioner, with its statistics.
    pub fn preconditioner(&self) -> &MacPreconditioner<B> {
        &self.preconditioner
    }

    /// The momentum buffer of a parameter of rank `D`; none before its first step, without momentum, or if the auxiliary
    /// optimizer steps it.
    ///
    /// # Panics
    ///
    /// If the parameter has another rank.
    pub fn momentum<const D: usize>(
        &self,
        parameter: ParamId,
    ) -> Option<Tensor<B::InnerBackend, D>> {
        match self.states.get(&parameter)? {
            ParameterState::Mac(state) => {
                let state: MacOptimizerState<B::InnerBackend, D> = state.clone().into_state();
                Some(state.velocity)
            }
            ParameterState::Auxiliary(_) => None,
        }
    }

    /// A report of the layers covered, the updates seen and the bytes kept. Reads from the device: not for every step.
    ///
    /// Burn's `Learner` consumes the optimizer; its checkpoint has a report as well, see [`MacRecord::report`].
    pub fn report(&self, module: &M) -> Report {
        let inventory = Inventory::of(module);
        let resumed = self.preconditioner.with_record_in_use(&inventory);
        let preconditioner = resumed.as_ref().unwrap_or(&self.preconditioner);
        let rate = self.auxiliary.as_ref().map(Auxiliary::rate);
        report(module, &inventory, preconditioner, &self.states, rate)
    }
}

/// The report of an optimizer with these parts.
fn report<M, B, O>(
    module: &M,
    inventory: &Inventory<B>,
    preconditioner: &MacPreconditioner<B>,
    states: &ParameterStates<B, O>,
    auxiliary: Option<AuxiliaryRate>,
) -> Report
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    let mut momentum = MomentumBytes { states, bytes: 0 };
    module.visit(&mut momentum);
    let mut report = Report::new(inventory, preconditioner);
    report.momentum_bytes = momentum.bytes;
    report.auxiliary_optimizer = auxiliary.map(|rate| {
        let uncovered = uncovered(inventory, preconditioner);
        AuxiliaryOptimizerReport::new(inventory, &uncovered, rate)
    });
    report
}

/// Adds up the bytes of the momentum buffers.
struct MomentumBytes<'a, B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    states: &'a ParameterStates<B, O>,
    bytes: usize,
}

impl<B, O> ModuleVisitor<B> for MomentumBytes<'_, B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(ParameterState::Mac(state)) = self.states.get(&param.id) {
            let state: MacOptimizerState<B::InnerBackend, D> = state.clone().into_state();
            self.bytes += bytes(&state.velocity);
        }
    }
}
