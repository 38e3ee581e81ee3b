use super::Mac;
use crate::config::check;
use crate::survey::Survey;
use crate::{MacError, MacPreconditioner};
use burn::module::{AutodiffModule, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsParams, LearningRate, Optimizer, SimpleOptimizer};
use burn::tensor::backend::AutodiffBackend;
use std::collections::HashSet;

/// The state of a second optimizer: its learning-rate factor, and what it keeps for each parameter.
pub type SecondOptimizerRecord<M, B, O> =
    (f64, <OptimizerAdaptor<O, M, B> as Optimizer<M, B>>::Record);

/// The optimizer of the parameters that MAC does not cover.
#[derive(Clone)]
pub(super) struct SecondOptimizer<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    optimizer: OptimizerAdaptor<O, M, B>,
    lr_factor: f64,
}

impl<M, B, O> SecondOptimizer<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    pub(super) fn new(
        optimizer: OptimizerAdaptor<O, M, B>,
        lr_factor: f64,
    ) -> Result<Self, MacError> {
        check_lr_factor(lr_factor)?;
        Ok(Self {
            optimizer,
            lr_factor,
        })
    }

    pub(super) fn set_lr_factor(&mut self, lr_factor: f64) -> Result<(), MacError> {
        check_lr_factor(lr_factor)?;
        self.lr_factor = lr_factor;
        Ok(())
    }

    pub(super) fn lr_factor(&self) -> f64 {
        self.lr_factor
    }

    pub(super) fn step(&mut self, lr: LearningRate, module: M, grads: GradientsParams) -> M {
        if grads.is_empty() {
            return module;
        }
        self.optimizer.step(lr * self.lr_factor, module, grads)
    }

    pub(super) fn to_record(&self) -> SecondOptimizerRecord<M, B, O> {
        (self.lr_factor, self.optimizer.to_record())
    }

    pub(super) fn load_record(self, record: SecondOptimizerRecord<M, B, O>) -> Self {
        let (lr_factor, states) = record;
        if lr_factor != self.lr_factor {
            log::info!(
                "the record's learning-rate factor {lr_factor} of the second optimizer replaces {}",
                self.lr_factor
            );
        }
        Self {
            optimizer: self.optimizer.load_record(states),
            lr_factor,
        }
    }
}

impl<M, B, O> Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// Hands the parameters that MAC does not cover to a second optimizer, which steps with `lr_factor`
    /// times the learning rate. It is any [`SimpleOptimizer`] that takes parameters of every rank that is
    /// left to it: `AdamW`, `Adam`, `Sgd`, … of Burn's.
    ///
    /// These are the parameters of no recorded layer: embeddings, norms, class tokens, plain `Linear`s;
    /// and those of layers that [`skip_layers`](crate::MacConfig::skip_layers) names. A recorded layer's
    /// bias stays with its weight. MAC's momentum and weight decay do not act on them, only those of
    /// the second optimizer do; clipping that MAC is configured with does, before the second
    /// optimizer's own. With [`guard_gradients`](crate::MacConfig::guard_gradients), a parameter whose
    /// gradient is not finite keeps its value; to the averages of the second optimizer, which only it
    /// knows, the gradient is one of zeros.
    ///
    /// A record is loaded into an optimizer that has a second one if it was written by such a one. To
    /// add one to a run, load the record first. A second call replaces the first's optimizer.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, LinearConfig};
    /// use burn::optim::{AdamW, AdamWConfig, GradientsParams, Optimizer};
    /// use burn::tensor::{Int, Tensor, backend::Backend};
    /// use mac_burn::{Mac, MacConfig, MacError, MacLinear};
    /// # type B = burn::backend::Autodiff<burn_ndarray::NdArray<f32>>;
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
    ///     MacConfig::new().init().with_second_optimizer(adamw, 0.01)?;
    ///
    /// # let words = Tensor::<B, 2, Int>::ones([2, 8], &device);
    /// let hidden = model.norm.forward(model.embedding.forward(words));
    /// let loss = model.output.forward(hidden).square().mean();
    /// let grads = GradientsParams::from_grads(loss.backward(), &model);
    /// model = optim.step(0.1, model, grads);
    /// # let second = optim.report(&model).second_optimizer.expect("there is one");
    /// # assert_eq!(second.paths, ["embedding.weight", "norm.gamma", "norm.beta"]);
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
    /// Not here, but in a step: if the second optimizer does not take a parameter's rank. Burn's `Muon`
    /// takes matrices only, so it panics at a norm or a bias.
    pub fn with_second_optimizer<P>(
        self,
        optimizer: OptimizerAdaptor<P, M, B>,
        lr_factor: f64,
    ) -> Result<Mac<M, B, P>, MacError>
    where
        P: SimpleOptimizer<B::InnerBackend>,
    {
        Ok(Mac {
            preconditioner: self.preconditioner,
            decayed: self.decayed,
            exempt: self.exempt,
            exemption: self.exemption,
            second: Some(SecondOptimizer::new(optimizer, lr_factor)?),
            clipping: self.clipping,
            guard: self.guard,
            unverified: self.unverified,
        })
    }

    /// Changes the learning-rate factor of the second optimizer from the next step on. It is part of
    /// the record.
    ///
    /// # Errors
    ///
    /// If it is not finite or not above 0, or there is no second optimizer; nothing is changed then.
    pub fn set_second_lr_factor(&mut self, lr_factor: f64) -> Result<(), MacError> {
        let second = self.second.as_mut().ok_or(MacError::NoSecondOptimizer)?;
        second.set_lr_factor(lr_factor)
    }
}

/// The parameters of no layer that is recorded and not skipped. One whose weight is frozen records nothing.
pub(super) fn uncovered<B: AutodiffBackend>(
    survey: &Survey<B>,
    preconditioner: &MacPreconditioner<B>,
) -> HashSet<ParamId> {
    let recorded = survey.recorders.iter().filter_map(|found| found.parameters);
    let covered: HashSet<ParamId> = recorded
        .filter(|layer| {
            let weight = survey.parameter(layer.weight);
            weight
                .is_some_and(|weight| weight.trained && !preconditioner.skips(weight.layer_path()))
        })
        .flat_map(|layer| [Some(layer.weight), layer.bias])
        .flatten()
        .collect();
    let all = survey.parameters.iter().map(|parameter| parameter.id);
    all.filter(|id| !covered.contains(id)).collect()
}

fn check_lr_factor(lr_factor: f64) -> Result<(), MacError> {
    check("lr_factor", lr_factor, "finite and above 0", |value| {
        value > 0.0 && value.is_finite()
    })
}
