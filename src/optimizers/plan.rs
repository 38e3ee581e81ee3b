use std::collections::HashSet;
use std::error::Error;

use burn::config::Config;
use burn::module::AutodiffModule;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, AdjustLrFn, MuonConfig, Optimizer, SgdConfig};
use burn::tensor::backend::{AutodiffBackend, Backend};
use mac_burn::{
    Coverage, EvaConfig, FoofConfig, GradientScale, InputCovariance, KfacConfig, Mac, MacConfig,
    MacError, Report, SmacConfig, StepForm, WeightDecayForm,
};

use super::rule::Rule;
use super::{GroupedOptimizer, LayerCurvature, LayerStep, OptimizerChoice};

/// The learning rate of the KL clip of Eva and K-FAC, as the authors of MAC have it: of the step's own, a clipped step would be as long at the
/// end of a schedule as at its start.
const KL_CLIP_LR: f64 = 0.1;

/// A task for an optimizer whose type the command line decides.
pub trait WithOptimizer<B: AutodiffBackend, M: AutodiffModule<B>> {
    /// Trains a network, and returns it and the optimizer.
    ///
    /// # Errors
    /// If the training ends early.
    fn run<O: Optimizer<M, B> + 'static>(
        self,
        model: M,
        optimizer: O,
    ) -> Result<(M, O), Box<dyn Error>>;
}

/// An optimizer and its settings.
#[derive(Config, Debug)]
pub struct OptimizerPlan {
    /// The optimizer.
    pub choice: OptimizerChoice,
    /// The learning rate that a schedule starts from.
    pub lr: f64,
    /// The settings of MAC, and of the other curvatures as far as they have them, momentum and weight decay among them. The parameters that they exempt from weight decay have none with
    /// any optimizer, and SGD's weight decay has their form.
    pub mac: MacConfig,
    /// Momentum of SGD, and the first of AdamW's two, in [0, 1).
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Whether SGD looks ahead along its momentum.
    #[config(default = false)]
    pub sgd_nesterov: bool,
    /// Weight decay of SGD, AdamW and Muon, 0 or more.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Learning rate of AdamW beside another optimizer, above 0.
    #[config(default = 1e-3)]
    pub auxiliary_lr: f64,
    /// The rows that the loss is a mean over, for K-FAC.
    #[config(default = "GradientScale::MeanLoss")]
    pub gradient_scale: GradientScale,
    /// Whether MAC preconditions the first layer by the covariance of its inputs.
    #[config(default = true)]
    pub input_covariance: bool,
    /// The path, or its last names, of the layer that makes the output, which orthogonal steps leave to AdamW; may be empty.
    #[config(default = "\"head\".to_string()")]
    pub head: String,
}

/// The properties of a parameter that decide its optimizer.
#[derive(PartialEq)]
struct Membership {
    step: LayerStep,
    decayed: bool,
    /// Whether AdamW steps it beside another optimizer.
    auxiliary: bool,
    /// Projections that a weight is of.
    projections: usize,
}

impl OptimizerPlan {
    /// Whether the covariance of the first layer's inputs is used.
    pub fn needs_input_covariance(&self) -> bool {
        self.choice.input_covariance && self.input_covariance
    }

    /// Makes the optimizer and trains with it; MAC's report comes with the network. A `covariance` is used only where the
    /// plan says so.
    ///
    /// # Errors
    /// If a setting is out of its range, the covariance cannot be inverted, or the training ends early.
    pub fn train<B, M>(
        &self,
        model: M,
        covariance: Option<InputCovariance<B>>,
        run: impl WithOptimizer<B, M>,
    ) -> Result<(M, Option<Report>), Box<dyn Error>>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B> + 'static,
    {
        let covariance = covariance.filter(|_| self.needs_input_covariance());
        let config = match self.choice.step {
            LayerStep::Momentum if self.choice.is_preconditioned() => self.mac.clone(),
            LayerStep::Form(_) => self.for_network(&model)?.mac,
            LayerStep::Momentum | LayerStep::AdamW | LayerStep::Muon => {
                let optimizer = self.grouped(&model, covariance)?;
                let (model, optimizer) = run.run(self.choice.prepare(model), optimizer)?;
                let report = optimizer.preconditioner().map(|mac| mac.report(&model));
                return Ok((model, report));
            }
        };
        let mut mac = self.with_curvature::<B, M>(&config)?;
        if let Some(covariance) = covariance {
            mac = mac.with_input_covariance(&covariance)?;
        }
        if !self.choice.auxiliary {
            let (model, mac) = run.run(model, mac)?;
            let report = mac.report(&model);
            return Ok((model, Some(report)));
        }
        let adamw = self.adamw(0.0).init();
        let mac = mac.with_auxiliary_optimizer(adamw, self.auxiliary_lr / self.lr)?;
        let (model, mac) = run.run(model, mac)?;
        let report = mac.report(&model);
        Ok((model, Some(report)))
    }

    /// The optimizer with these settings and the curvature of the choice.
    fn with_curvature<B, M>(&self, config: &MacConfig) -> Result<Mac<M, B>, MacError>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        match self.choice.curvature {
            None | Some(LayerCurvature::Mac) => config.try_init(),
            Some(LayerCurvature::Smac) => SmacConfig::new().with_settings_of(config).try_init(),
            Some(LayerCurvature::Foof) => FoofConfig::new().with_settings_of(config).try_init(),
            Some(LayerCurvature::Eva) => {
                let eva = EvaConfig::new().with_settings_of(config);
                eva.with_kl_clip_lr(Some(KL_CLIP_LR)).try_init()
            }
            Some(LayerCurvature::Kfac) => {
                let kfac = KfacConfig::new()
                    .with_settings_of(config)
                    .with_gradient_scale(self.gradient_scale);
                kfac.with_kl_clip_lr(Some(KL_CLIP_LR)).try_init()
            }
        }
    }

    /// The same with all of MAC's settings as they are used with a network: with a form of the step, also what the presets of such
    /// forms have in common. Orthogonal steps are for the weights that Muon has.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn for_network<B, M>(&self, model: &M) -> Result<Self, Box<dyn Error>>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        let LayerStep::Form(step) = self.choice.step else {
            return Ok(self.clone());
        };
        let mut skip_layers = self.mac.skip_layers.clone();
        if let StepForm::Orthogonal { .. } = step {
            let report = self.mac.try_init_preconditioner::<B>()?.report(model);
            let paths = report.layers.into_iter().map(|layer| layer.path);
            skip_layers.extend(paths.filter(|path| self.is_head(path)));
        }
        let preset = MacConfig::transformer();
        let mac = MacConfig {
            step,
            skip_layers,
            curvature: preset.curvature,
            auxiliary_biases: preset.auxiliary_biases,
            auxiliary_weight_decay: self.weight_decay,
            momentum: preset.momentum,
            nesterov: preset.nesterov,
            ..self.mac.clone()
        };
        Ok(Self {
            mac,
            ..self.clone()
        })
    }

    /// Whether this is the path of the layer that makes the output.
    fn is_head(&self, layer: &str) -> bool {
        layer == self.head || layer.ends_with(&format!(".{}", self.head))
    }

    /// The optimizer for a network with recorded layers, where it is Burn's, with MAC's preconditioner in front of it or without. What steps by
    /// [`Mac`](mac_burn::Mac) comes without it.
    ///
    /// # Errors
    /// If a setting is out of its range, or the covariance cannot be inverted.
    pub fn grouped<B, M>(
        &self,
        model: &M,
        covariance: Option<InputCovariance<B>>,
    ) -> Result<GroupedOptimizer<M, B>, Box<dyn Error>>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        let mut preconditioner = self.mac.try_init_preconditioner::<B>()?;
        let report = preconditioner.report(model);
        let covered = report
            .layers
            .iter()
            .filter(|layer| !matches!(layer.coverage, Coverage::NoRecorder | Coverage::Skipped));
        let covered: HashSet<&str> = covered.map(|layer| layer.path.as_str()).collect();
        let exempt = Exemption::of(&self.mac)?;
        if let Some(covariance) = covariance {
            preconditioner = preconditioner.with_input_covariance(&covariance)?;
        }
        let preconditioner = self.choice.is_preconditioned().then_some(preconditioner);
        let member_of = |path: &str, axes| {
            let layer = path.rsplit_once('.').map_or("", |(layer, _)| layer);
            self.membership(
                layer,
                axes,
                covered.contains(layer),
                !exempt.has(path, axes),
            )
        };
        Ok(GroupedOptimizer::new(
            model,
            preconditioner,
            member_of,
            |membership| self.rule(membership),
        ))
    }

    /// The properties of a parameter of a layer.
    fn membership(&self, layer: &str, axes: usize, covered: bool, decayed: bool) -> Membership {
        let OptimizerChoice {
            step, auxiliary, ..
        } = self.choice;
        let is_head = self.is_head(layer);
        let leaves = match step {
            LayerStep::Muon => !covered || axes < 2 || is_head,
            LayerStep::Momentum | LayerStep::Form(_) | LayerStep::AdamW => !covered && auxiliary,
        };
        Membership {
            step: if leaves { LayerStep::AdamW } else { step },
            decayed,
            auxiliary: leaves,
            projections: match !leaves && step == LayerStep::Muon && layer.ends_with(".qkv") {
                true => 3,
                false => 1,
            },
        }
    }

    fn rule<B: Backend>(&self, membership: &Membership) -> (Rule<B>, f64) {
        let weight_decay = if membership.decayed {
            self.weight_decay
        } else {
            0.0
        };
        let rule = match membership.step {
            LayerStep::Momentum => self.sgd(weight_decay),
            LayerStep::AdamW | LayerStep::Form(_) => Rule::AdamW(self.adamw(weight_decay).build()),
            LayerStep::Muon => Rule::Muon {
                muon: muon(weight_decay).build(),
                projections: membership.projections,
            },
        };
        match membership.auxiliary {
            true => (rule, self.auxiliary_lr / self.lr),
            false => (rule, 1.0),
        }
    }

    /// Without dampening, as in MAC.
    fn sgd<B: Backend>(&self, weight_decay: f64) -> Rule<B> {
        let momentum = MomentumConfig::new()
            .with_momentum(self.momentum)
            .with_dampening(0.0)
            .with_nesterov(self.sgd_nesterov);
        let [coupled, decoupled] = match self.mac.weight_decay_form {
            WeightDecayForm::Coupled => [weight_decay, 0.0],
            WeightDecayForm::Decoupled => [0.0, weight_decay],
        };
        let sgd = SgdConfig::new()
            .with_momentum(Some(momentum))
            .with_weight_decay((coupled > 0.0).then(|| WeightDecayConfig::new(coupled as f32)));
        Rule::Momentum {
            sgd: sgd.build(),
            decay: decoupled,
        }
    }

    /// With PyTorch's ε, a thousandth of Burn's own default.
    fn adamw(&self, weight_decay: f64) -> AdamWConfig {
        AdamWConfig::new()
            .with_beta_1(self.momentum as f32)
            .with_epsilon(1e-8)
            .with_weight_decay(weight_decay as f32)
    }
}

/// With the length of AdamW's steps, so that AdamW's learning rates are right for it. Momentum is Muon's own, 0.95.
fn muon(weight_decay: f64) -> MuonConfig {
    MuonConfig::new()
        .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
        .with_weight_decay(Some(WeightDecayConfig::new(weight_decay as f32)))
}

/// The parameters without weight decay: those that have none with MAC.
#[derive(Clone, Debug)]
struct Exemption {
    names: Vec<String>,
    norms_and_biases: bool,
}

impl Exemption {
    /// MAC's.
    ///
    /// # Errors
    /// For a pattern that is not `**.NAME`, which the programs do not need.
    fn of(mac: &MacConfig) -> Result<Self, String> {
        let names = mac.no_decay.iter().map(|pattern| {
            let name = pattern.strip_prefix("**.");
            let name = name.filter(|name| !name.contains(['*', '.']));
            name.map(str::to_string)
                .ok_or_else(|| format!("no_decay has {pattern}, and must be like **.NAME here"))
        });
        Ok(Self {
            names: names.collect::<Result<_, _>>()?,
            norms_and_biases: mac.no_decay_norms_and_biases,
        })
    }

    fn has(&self, path: &str, axes: usize) -> bool {
        let named = |name: &str| self.names.iter().any(|exempt| exempt == name);
        (self.norms_and_biases && axes <= 1) || path.split('.').any(named)
    }
}

#[cfg(test)]
mod tests;
