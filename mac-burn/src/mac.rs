mod exemption;
mod keeper;
mod mac_record;
mod momentum_bytes;
mod no_second_optimizer;
mod second_optimizer;

pub use mac_record::MacRecord;
pub use no_second_optimizer::{NoSecondOptimizer, NoSecondOptimizerState};
pub use second_optimizer::SecondOptimizerRecord;

use crate::gradients;
use crate::preconditioner::Devices;
use crate::report::Report;
use crate::survey::Survey;
use crate::{
    InputCovariance, MacConfig, MacError, MacOptimizer, MacPreconditioner, SecondOptimizerReport,
};
use burn::grad_clipping::GradientClipping;
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{
    GradientsParams, LearningRate, MultiGradientsParams, Optimizer, SimpleOptimizer,
};
use burn::tensor::backend::AutodiffBackend;
use exemption::Exemption;
use keeper::Keeper;
use momentum_bytes::momentum_bytes;
use second_optimizer::{SecondOptimizer, uncovered};
use std::collections::HashSet;

/// Burn's adaptor around [`MacOptimizer`].
type Adaptor<M, B> = OptimizerAdaptor<MacOptimizer<<B as AutodiffBackend>::InnerBackend>, M, B>;

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
/// devices. So Burn's `MultiDeviceOptim::OptimSharded` has the whole batch's mean, as has a loop that
/// calls `step_multi`. `OptimMainDevice` steps with the gradients of all and the mean of the main device's
/// share; what the other devices record waits for a `step_multi`, so a run should keep to one of the two.
/// With data-parallel workers that share no state (`DDP`) each worker has its own share's mean, so that
/// their copies drift apart by what the shares differ.
///
/// A recorded layer that has no statistic takes the step of momentum SGD. So does all of a module without
/// a recorded layer, unless there is a second optimizer, whose step it takes then. Either is said once by
/// `log` and in [`report`](Self::report).
///
/// # A second optimizer
///
/// Momentum SGD is also the step of what no recorder covers: embeddings, norms, position embeddings,
/// class tokens. [`with_second_optimizer`](Self::with_second_optimizer) hands these to another
/// optimizer, whose type is `O`: any [`SimpleOptimizer`] that takes parameters of every rank (`AdamW`,
/// `Adam`, `Sgd`, …).
///
/// # Panics
///
/// At the first step after [`load_record`](Optimizer::load_record), if the record belongs to
/// another model; `load_record` itself, if it has another version, or a second optimizer where this
/// has none or the other way round. The text is that of the error that
/// [`try_load_record`](Self::try_load_record) returns.
#[derive(Clone)]
pub struct Mac<M, B, O = NoSecondOptimizer>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    preconditioner: MacPreconditioner<B>,
    decayed: Adaptor<M, B>,
    exempt: Adaptor<M, B>,
    exemption: Exemption,
    second: Option<SecondOptimizer<M, B, O>>,
    clipping: Option<GradientClipping>,
    guard: bool,
    unverified: bool,
}

impl<M, B> Mac<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    pub(crate) fn new(config: &MacConfig) -> Result<Self, MacError> {
        let optimizer = MacOptimizer::new(config);
        let clipping = config.gradient_clipping.as_ref();
        Ok(Self {
            preconditioner: MacPreconditioner::new(config)?,
            exempt: optimizer.clone().without_weight_decay().into(),
            decayed: optimizer.into(),
            exemption: Exemption::new(config)?,
            second: None,
            clipping: clipping.map(|clipping| clipping.init()),
            guard: config.guard_gradients,
            unverified: false,
        })
    }
}

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
        let survey = Survey::of(module);
        let settled = self.preconditioner.settled(&survey);
        let preconditioner = settled.as_ref().unwrap_or(&self.preconditioner);
        let report = Report::new(&survey, preconditioner)
            .with_momentum(momentum_bytes([&self.decayed, &self.exempt], module));
        match &self.second {
            Some(second) => report.with_second_optimizer(SecondOptimizerReport::new(
                &survey,
                &uncovered(&survey, preconditioner),
                second.lr_factor(),
            )),
            None => report,
        }
    }

    fn step_on(
        &mut self,
        lr: LearningRate,
        module: M,
        mut grads: GradientsParams,
        devices: Devices,
    ) -> M {
        let survey = Survey::of(&module);
        self.verify(&survey)
            .unwrap_or_else(|error| panic!("{error}"));
        if let Some(clipping) = &self.clipping {
            if self.guard {
                // Clipping by value would make a number of an infinity.
                gradients::mark_broken(&module, &mut grads, &HashSet::new());
            }
            gradients::clip(&module, &mut grads, clipping);
        }
        let second = self.second.as_ref().map(|_| {
            let uncovered = uncovered(&survey, &self.preconditioner);
            let mut taken = gradients::take(&module, &mut grads, &uncovered);
            let keeper = self.guard.then(|| Keeper::of(&module, &mut taken));
            (taken, keeper)
        });
        let mut marked = HashSet::new();
        let marks = self.guard.then_some(&mut marked);
        let mut grads = self.preconditioner.run(&survey, grads, devices, marks);
        if self.guard {
            gradients::mark_broken(&module, &mut grads, &marked);
        }
        let exempt = gradients::take(&module, &mut grads, &self.exemption.of(&survey));

        let mut module = self.decayed.step(lr, module, grads);
        if !exempt.is_empty() {
            module = self.exempt.step(lr, module, exempt);
        }
        if let Some((optimizer, (grads, keeper))) = self.second.as_mut().zip(second) {
            module = optimizer.step(lr, module, grads);
            if let Some(keeper) = keeper {
                module = keeper.restore(module);
            }
        }
        module
    }
}

impl<M, B, O> Optimizer<M, B> for Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    type Record = MacRecord<M, B, O>;

    fn step(&mut self, lr: LearningRate, module: M, grads: GradientsParams) -> M {
        self.step_on(lr, module, grads, Devices::Own)
    }

    fn step_multi(&mut self, lr: LearningRate, module: M, grads: MultiGradientsParams) -> M {
        let grads = gradients::merge(&module, grads);
        self.step_on(lr, module, grads, Devices::All)
    }

    fn to_record(&self) -> Self::Record {
        (
            self.preconditioner.to_record(),
            self.decayed.to_record(),
            self.exempt.to_record(),
            self.second.as_ref().map(SecondOptimizer::to_record),
        )
    }

    fn load_record(self, record: Self::Record) -> Self {
        self.load(record).unwrap_or_else(|error| panic!("{error}"))
    }
}
