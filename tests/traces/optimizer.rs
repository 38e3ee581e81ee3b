//! The optimizer of a case, with this project's settings.

use burn::{module::AutodiffModule, tensor::backend::AutodiffBackend};
use mac_burn::{
    EvaConfig, FoofConfig, KfacConfig, Mac, MacConfig, MacOptimizer, MacPreconditioner, SmacConfig,
};

use crate::{
    case::{ArchitectureKind, Case, TraceError},
    update_rule::UpdateRule,
};

/// The settings of a case's optimizer, its weight decay and exemptions from it left to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Optimizer {
    /// The settings that every optimizer has.
    pub(crate) common: MacConfig,
    /// The curvature, with the settings that only this one has.
    pub(crate) curvature: Curvature,
    /// The first step with weight decay.
    pub(crate) decay_from: usize,
}

/// A curvature with the settings that only it has; the others of its configuration are not read.
#[derive(Clone, Debug)]
pub(crate) enum Curvature {
    Mac,
    Smac(SmacConfig),
    Foof(FoofConfig),
    Eva(EvaConfig),
    Kfac(KfacConfig),
}

/// A change of an optimizer's settings, which tells whether they are of a kind that it changes.
pub(crate) type Change = fn(&mut Optimizer) -> bool;

/// Applies an expression that is generic over the configuration.
macro_rules! each_config {
    ($optimizer:expr, $config:ident => $body:expr) => {
        match &$optimizer.curvature {
            Curvature::Mac => {
                let $config = &$optimizer.common;
                $body
            }
            Curvature::Smac(own) => {
                let $config = own.clone().with_settings_of(&$optimizer.common);
                $body
            }
            Curvature::Foof(own) => {
                let $config = own.clone().with_settings_of(&$optimizer.common);
                $body
            }
            Curvature::Eva(own) => {
                let $config = own.clone().with_settings_of(&$optimizer.common);
                $body
            }
            Curvature::Kfac(own) => {
                let $config = own.clone().with_settings_of(&$optimizer.common);
                $body
            }
        }
    };
}

impl Optimizer {
    /// The optimizer of a case that is [covered](not_covered).
    pub(crate) fn of(case: &Case) -> Result<Self, TraceError> {
        let hyper = &case.hyper;
        let rule = UpdateRule::read(&case.update)?;
        let curvature = Curvature::of(case)?;
        let stat_decay = match curvature {
            // The authors' setting is the weight of the new value there.
            Curvature::Eva(_) | Curvature::Kfac(_) => 1.0 - hyper.stat_decay,
            Curvature::Mac | Curvature::Smac(_) | Curvature::Foof(_) => hyper.stat_decay,
        };
        let tinv = match curvature {
            // The authors' code does not read `Tinv` there: what was recorded is in use at once.
            Curvature::Eva(_) => hyper.tcov,
            _ => hyper.tinv,
        };

        Ok(Self {
            common: MacConfig::new()
                .with_damping(hyper.damping)
                .with_stat_decay(stat_decay)
                .with_momentum(hyper.momentum)
                .with_nesterov(rule.nesterov)
                .with_nesterov_first_step(rule.nesterov_first_step)
                .with_tcov(hyper.tcov)
                .with_tinv(tinv)
                .with_weight_decay_form(rule.weight_decay_form),
            curvature,
            decay_from: rule.decay_from * hyper.tcov,
        })
    }

    /// The same with a weight decay, and with parameters exempt from it, by their paths.
    pub(crate) fn with_weight_decay(&self, weight_decay: f64, exempt: &[String]) -> Self {
        let common = self.common.clone();

        Self {
            common: common
                .with_weight_decay(weight_decay)
                .with_no_decay(exempt.to_vec()),
            ..self.clone()
        }
    }

    /// The optimizer as a whole.
    pub(crate) fn mac<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
    ) -> Result<Mac<M, B>, TraceError> {
        Ok(each_config!(self, config => config.try_init())?)
    }

    /// Its preconditioner alone.
    pub(crate) fn preconditioner<B: AutodiffBackend>(
        &self,
    ) -> Result<MacPreconditioner<B>, TraceError> {
        Ok(each_config!(self, config => config.try_init_preconditioner())?)
    }

    /// Its step alone.
    pub(crate) fn step<B: AutodiffBackend>(&self) -> MacOptimizer<B::InnerBackend> {
        self.common.optimizer()
    }
}

impl Curvature {
    fn of(case: &Case) -> Result<Self, TraceError> {
        let cifar = case.official.folder() == CIFAR;
        let learning_rate = || setting("preconditioner_lr", case.preconditioner_lr);
        let limit = || setting("kl_clip", case.kl_clip);

        Ok(match case.official.cls.as_str() {
            "MAC" => Self::Mac,
            "SMAC" => Self::Smac(SmacConfig::new().with_scale_first_layer(cifar)),
            "FOOF" => Self::Foof(FoofConfig::new().with_identity_start(cifar)),
            "Eva" => Self::Eva(
                EvaConfig::new()
                    .with_kl_clip(Some(limit()?))
                    .with_kl_clip_lr(Some(learning_rate()?)),
            ),
            "KFAC" => Self::Kfac(
                KfacConfig::of_mac_authors()
                    .with_kl_clip(Some(limit()?))
                    .with_kl_clip_lr(Some(learning_rate()?)),
            ),
            other => {
                return Err(TraceError::Unsupported(format!(
                    "the optimizer `{other}` is not known"
                )));
            }
        })
    }
}

fn setting(name: &str, value: Option<f64>) -> Result<f64, TraceError> {
    value.ok_or_else(|| TraceError::Unsupported(format!("the case has no `{name}`")))
}

/// The folders of the authors' repository, each with optimizers of its own.
const CIFAR: &str = "cifar10";
const IMAGENET: &str = "hf_imagenet";
const PYTORCH_IMAGENET: &str = "pytorch_imagenet";

/// The samples of a batch that Eva and K-FAC in [`IMAGENET`] record.
const RECORDED_SAMPLES: usize = 16;

/// Why the optimizer of a case is not one that this project means to reproduce, as the README of the
/// traces states what the authors' code does; none if it is.
pub(crate) fn not_covered(case: &Case) -> Option<String> {
    let official = &case.official;
    let (class, folder) = (official.cls.as_str(), official.folder());
    match (class, folder) {
        ("MAC", _) => return None,
        ("SMAC", CIFAR | IMAGENET)
        | ("FOOF", CIFAR | IMAGENET | PYTORCH_IMAGENET)
        | ("Eva" | "KFAC", CIFAR | IMAGENET) => {}
        ("SMAC" | "FOOF" | "Eva" | "KFAC", _) => {
            return Some(format!("optimizer {class} of `{}`", official.file));
        }
        _ => return Some(format!("optimizer {class}")),
    }
    if class == "SMAC" {
        let counts_refreshes = folder == CIFAR && case.hyper.tcov != case.hyper.tinv;
        return counts_refreshes.then(|| {
            "the authors' bias correction counts refreshes in place of recordings".to_owned()
        });
    }
    if case.architecture.known().ok() == Some(ArchitectureKind::VisionTransformer) {
        let reason = "the authors' code preconditions the values of attention by the tokens";
        return Some(format!("optimizer {class}: {reason}"));
    }
    let recorded_in_part = folder == IMAGENET && class != "FOOF" && case.batch > RECORDED_SAMPLES;

    recorded_in_part.then(|| {
        format!(
            "optimizer {class}: the authors' code records {RECORDED_SAMPLES} samples of a batch"
        )
    })
}
