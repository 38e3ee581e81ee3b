use crate::gradients::{Merger, Preparation};
use crate::patterns::PathPatterns;
use crate::preconditioner::Devices;
use crate::preconditioner_record::MacPreconditionerRecord;
use crate::report::Report;
use crate::survey::Survey;
use crate::{InputCovariance, MacConfig, MacError, MacOptimizer, MacPreconditioner};
use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::LearningRate;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use std::any::type_name;
use std::collections::HashSet;

/// Burn's adaptor around [`MacOptimizer`].
type Adaptor<M, B> = OptimizerAdaptor<MacOptimizer<<B as AutodiffBackend>::InnerBackend>, M, B>;

/// The state of a [`Mac`]: the preconditioner's, the momentum of parameters with weight decay, and
/// that of parameters without.
pub type MacRecord<M, B> = (
    MacPreconditionerRecord,
    <Adaptor<M, B> as Optimizer<M, B>>::Record,
    <Adaptor<M, B> as Optimizer<M, B>>::Record,
);

/// The MAC optimizer: [`MacPreconditioner`] in front of [`MacOptimizer`].
///
/// It is one of Burn's optimizers: it goes into `Learner::new(model, optim, lr_scheduler)` and into
/// a loop of your own alike. In a step, each gradient is clipped (if so configured), preconditioned
/// and handed to momentum and weight decay. Nothing is read back to the host.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{GradientsParams, Optimizer};
/// use mac_burn::{MacConfig, MacLinear};
/// # use burn::tensor::Tensor;
/// # type B = burn::backend::Autodiff<burn_ndarray::NdArray<f32>>;
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
/// `step` takes the statistics that the module's own device recorded, `step_multi` those of all
/// devices. With neither a recorded layer nor a statistic, it is momentum SGD, and says so once by
/// `log` and in [`report`](Self::report).
///
/// # Panics
///
/// At the first step after [`load_record`](Optimizer::load_record), if the record belongs to
/// another model; `load_record` itself, if it has another version. The text is that of the error
/// that [`try_load_record`](Self::try_load_record) returns.
#[derive(Clone)]
pub struct Mac<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    preconditioner: MacPreconditioner<B>,
    decayed: Adaptor<M, B>,
    exempt: Adaptor<M, B>,
    exemption: Exemption,
    clipping: Option<GradientClipping>,
    guard: bool,
    unverified: bool,
}

/// Which parameters have no weight decay.
#[derive(Debug, Clone)]
struct Exemption {
    patterns: PathPatterns,
    rank_one: bool,
}

impl Exemption {
    fn of<B: AutodiffBackend>(&self, survey: &Survey<B>) -> HashSet<ParamId> {
        let exempt = survey.parameters.iter().filter(|parameter| {
            (self.rank_one && parameter.shape.len() <= 1) || self.patterns.cover(&parameter.path)
        });
        exempt.map(|parameter| parameter.id).collect()
    }
}

impl<M, B> Mac<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    pub(crate) fn new(config: &MacConfig) -> Result<Self, MacError> {
        let guard = config
            .guard_gradients
            .unwrap_or_else(fuses::<B::InnerBackend>);
        let optimizer = config.optimizer().with_guard(guard);
        Ok(Self {
            preconditioner: MacPreconditioner::new(config)?,
            exempt: optimizer.clone().without_weight_decay().into(),
            decayed: optimizer.into(),
            exemption: Exemption {
                patterns: PathPatterns::new("no_decay", &config.no_decay)?,
                rank_one: config.no_decay_norms_and_biases,
            },
            clipping: config
                .gradient_clipping
                .as_ref()
                .map(|clipping| clipping.init()),
            guard,
            unverified: false,
        })
    }

    /// Preconditions a layer by its measured input covariance, in place of its mean activation.
    ///
    /// # Errors
    ///
    /// If the covariance has seen no batch, or cannot be inverted with the present damping.
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
    /// If it is outside (0, ∞], or an input covariance cannot be inverted with it; nothing is
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

    /// The preconditioner, with its statistics.
    pub fn preconditioner(&self) -> &MacPreconditioner<B> {
        &self.preconditioner
    }

    /// What is covered, what was seen and what is kept. Reads from the device: not for every step.
    pub fn report(&self, module: &M) -> Report {
        let mut momentum = MomentumBytes::<M, B> {
            records: [&self.decayed, &self.exempt].map(Optimizer::to_record),
            bytes: 0,
        };
        module.visit(&mut momentum);
        self.preconditioner
            .report(module)
            .with_momentum(momentum.bytes)
    }

    /// Continues from a record of the optimizer of `module`.
    ///
    /// # Errors
    ///
    /// If the record has another version or belongs to another model.
    pub fn try_load_record(self, record: MacRecord<M, B>, module: &M) -> Result<Self, MacError> {
        record.0.check_version()?;
        let mut loaded = self.load_record(record);
        loaded.verify(&Survey::of(module))?;
        Ok(loaded)
    }

    /// Compares a loaded record with the module it is used for.
    fn verify(&mut self, survey: &Survey<B>) -> Result<(), MacError> {
        if !std::mem::take(&mut self.unverified) {
            return Ok(());
        }
        self.preconditioner.settle(survey)?;
        let records = [&self.decayed, &self.exempt].map(Optimizer::to_record);
        let mut ids = records.iter().flat_map(|record| record.keys());
        if ids.all(|id| survey.parameter(*id).is_some()) {
            return Ok(());
        }
        Err(MacError::RecordOfAnotherModel {
            problem: "it has the momentum of a parameter that the module does not have".into(),
        })
    }

    fn step_on(
        &mut self,
        lr: LearningRate,
        module: M,
        grads: GradientsParams,
        devices: Devices,
    ) -> M {
        let survey = Survey::of(&module);
        self.verify(&survey)
            .unwrap_or_else(|error| panic!("{error}"));

        let mut preparation = Preparation::new(grads, self.exemption.of(&survey));
        if let Some(clipping) = &self.clipping {
            preparation.clip(&module, clipping);
        }
        preparation
            .precondition(|grads| self.preconditioner.run(&survey, grads, devices, self.guard));
        if self.guard {
            preparation.mark(&module, |id| self.preconditioner.marks(id));
        }
        let (decayed, exempt) = preparation.split(&module);

        let module = self.decayed.step(lr, module, decayed);
        if exempt.is_empty() {
            module
        } else {
            self.exempt.step(lr, module, exempt)
        }
    }
}

impl<M, B> Optimizer<M, B> for Mac<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    type Record = MacRecord<M, B>;

    fn step(&mut self, lr: LearningRate, module: M, grads: GradientsParams) -> M {
        self.step_on(lr, module, grads, Devices::Own)
    }

    fn step_multi(&mut self, lr: LearningRate, module: M, grads: MultiGradientsParams) -> M {
        let grads = Merger::merge(&module, grads);
        self.step_on(lr, module, grads, Devices::All)
    }

    fn to_record(&self) -> Self::Record {
        (
            self.preconditioner.to_record(),
            self.decayed.to_record(),
            self.exempt.to_record(),
        )
    }

    fn load_record(self, (preconditioner, decayed, exempt): Self::Record) -> Self {
        Self {
            preconditioner: self.preconditioner.load_record(preconditioner),
            decayed: self.decayed.load_record(decayed),
            exempt: self.exempt.load_record(exempt),
            unverified: true,
            ..self
        }
    }
}

/// Whether a backend fuses element-wise operations: its type is wrapped in burn-fusion's `Fusion`.
///
/// Asked of the type, since `Backend::name` may start the default device.
fn fuses<B>() -> bool {
    type_name::<B>().contains("Fusion<")
}

/// Adds up the bytes of the momentum buffers.
struct MomentumBytes<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    records: [<Adaptor<M, B> as Optimizer<M, B>>::Record; 2],
    bytes: usize,
}

impl<M, B> ModuleVisitor<B> for MomentumBytes<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        for record in &self.records {
            if let Some(record) = record.get(&param.id) {
                let velocity = record.clone().into_state::<D>().velocity;
                self.bytes += velocity.shape().num_elements() * velocity.dtype().size();
            }
        }
    }
}
