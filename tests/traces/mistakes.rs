//! Settings that are not a case's own, each of which a replay must notice.

use mac_burn::{GradientScale, KfacDamping, WeightDecayForm, WeightSharing};

use crate::{
    case::{ArchitectureKind, Case, QkvMeans},
    optimizer::{Change, Curvature},
};

/// A change of a case's settings.
pub(crate) struct Mistake {
    pub(crate) what: &'static str,
    /// Makes the mistake, and tells whether the case had what it takes.
    pub(crate) make: fn(&mut Case) -> bool,
}

/// Small ones, and one of each kind.
pub(crate) const MISTAKES: &[Mistake] = &[
    Mistake {
        what: "1 % more damping",
        make: |case| {
            case.hyper.damping *= 1.01;
            true
        },
    },
    Mistake {
        what: "1 % less decay of the averages",
        make: |case| {
            change(case, |optimizer| {
                optimizer.common.stat_decay *= 0.99;
                true
            })
        },
    },
    Mistake {
        what: "the weights of the old and the new value of an average exchanged",
        make: |case| {
            change(case, |optimizer| {
                optimizer.common.stat_decay = 1.0 - optimizer.common.stat_decay;
                true
            })
        },
    },
    Mistake {
        what: "1 % less momentum",
        make: |case| {
            case.hyper.momentum *= 0.99;
            true
        },
    },
    Mistake {
        what: "recording one step later",
        make: |case| {
            case.hyper.tcov += 1;
            true
        },
    },
    Mistake {
        what: "refreshing one step later",
        make: |case| {
            change(case, |optimizer| {
                optimizer.common.tinv += 1;
                true
            })
        },
    },
    Mistake {
        what: "1 % more weight decay",
        make: |case| {
            for group in &mut case.param_groups {
                group.weight_decay *= 1.01;
            }
            decays(case)
        },
    },
    Mistake {
        what: "the other form of weight decay",
        make: |case| {
            decays(case)
                && change(case, |optimizer| {
                    let form = &mut optimizer.common.weight_decay_form;
                    *form = match form {
                        WeightDecayForm::Decoupled => WeightDecayForm::Coupled,
                        WeightDecayForm::Coupled => WeightDecayForm::Decoupled,
                    };
                    true
                })
        },
    },
    Mistake {
        what: "no weight decay on norms and biases",
        make: |case| {
            let shapes = case.param_shapes.clone();
            let vectors = shapes.iter().filter(|(_, shape)| shape.len() == 1);
            let decayed: Vec<_> = vectors
                .map(|(name, _)| name)
                .filter(|name| case.weight_decay(name).is_ok_and(|decay| decay > 0.0))
                .collect();
            let applies = decays(case) && !decayed.is_empty();
            for name in decayed {
                case.put_in_group(name, 0.0);
            }
            applies
        },
    },
    Mistake {
        what: "weight decay from the first step on",
        make: |case| {
            change(case, |optimizer| {
                std::mem::take(&mut optimizer.decay_from) > 0
            })
        },
    },
    Mistake {
        what: "a learning rate that stays",
        make: |case| case.lr_per_step.take().is_some(),
    },
    Mistake {
        what: "a first layer like the others",
        make: |case| case.first_layer.take().is_some(),
    },
    Mistake {
        what: "a calibration batch too few",
        make: |case| case.calibration_batches.pop().is_some(),
    },
    Mistake {
        what: "values preconditioned by the mean of the tokens, or attention averaged over keys",
        make: |case| attends_with(case, QkvMeans::Tokens),
    },
    Mistake {
        what: "queries and keys preconditioned by the attention-weighted mean",
        make: |case| attends_with(case, QkvMeans::Attended),
    },
    Mistake {
        what: "a first step that looks ahead",
        make: |case| {
            change(case, |optimizer| {
                let ahead = &mut optimizer.common.nesterov_first_step;
                optimizer.common.nesterov && !std::mem::replace(ahead, true)
            })
        },
    },
    Mistake {
        what: "no step that looks ahead",
        make: |case| {
            change(case, |optimizer| {
                std::mem::take(&mut optimizer.common.nesterov)
            })
        },
    },
    Mistake {
        what: "MAC in place of SMAC",
        make: |case| {
            change(case, |optimizer| {
                let applies = matches!(optimizer.curvature, Curvature::Smac(_));
                optimizer.curvature = Curvature::Mac;
                applies
            })
        },
    },
    Mistake {
        what: "an output side of the first layer where there is none, or none where there is one",
        // A damping of 1 hides it from `f32`.
        make: |case| case.hyper.damping != 1.0 && change(case, OTHER_FIRST_LAYER),
    },
    Mistake {
        what: "an average from zero in place of the identity, or the other way round",
        make: |case| {
            change(case, |optimizer| {
                let Curvature::Foof(config) = &mut optimizer.curvature else {
                    return false;
                };
                config.identity_start = !config.identity_start;
                true
            })
        },
    },
    Mistake {
        what: "no KL clip",
        make: |case| {
            change(case, |optimizer| {
                kl_clip(&mut optimizer.curvature).is_some_and(|(limit, _)| limit.take().is_some())
            })
        },
    },
    Mistake {
        what: "a KL clip with a learning rate that is 1 % larger",
        make: |case| {
            change(case, |optimizer| {
                let lr = kl_clip(&mut optimizer.curvature).and_then(|(_, lr)| lr.as_mut());
                lr.map(|lr| *lr *= 1.01).is_some()
            })
        },
    },
    Mistake {
        what: "factors that lose their damping after a refresh",
        make: |case| {
            change(case, |optimizer| {
                let Curvature::Kfac(config) = &mut optimizer.curvature else {
                    return false;
                };
                config.factor_damping = KfacDamping::FactoredTikhonov;
                true
            })
        },
    },
    Mistake {
        what: "a row for each position in place of each sample",
        make: |case| {
            let mut layers = case.architecture.layers.iter();
            layers.any(|layer| layer["type"] == "Conv2d")
                && change(case, |optimizer| {
                    let Curvature::Kfac(config) = &mut optimizer.curvature else {
                        return false;
                    };
                    config.weight_sharing = WeightSharing::Expand;
                    true
                })
        },
    },
    Mistake {
        what: "gradients of a sample's loss in place of the batch's",
        make: |case| {
            change(case, |optimizer| {
                let Curvature::Kfac(config) = &mut optimizer.curvature else {
                    return false;
                };
                config.gradient_scale = GradientScale::MeanLoss;
                true
            })
        },
    },
];

/// An output side of SMAC's first layer where there is none, or none where there is one.
const OTHER_FIRST_LAYER: Change = |optimizer| {
    let Curvature::Smac(config) = &mut optimizer.curvature else {
        return false;
    };
    config.scale_first_layer = !config.scale_first_layer;
    true
};

/// The mistake that only `f64` shows in each case that it can be made in.
pub(crate) fn other_first_layer(case: &mut Case) -> bool {
    change(case, OTHER_FIRST_LAYER)
}

/// Changes the settings of a case's optimizer, and tells whether they are of a kind that the change is for.
fn change(case: &mut Case, change: Change) -> bool {
    let optimizer = case.optimizer();
    case.change = Some(change);

    optimizer.is_ok_and(|mut optimizer| change(&mut optimizer))
}

/// The limit and the learning rate of a KL clip, where there is one.
fn kl_clip(curvature: &mut Curvature) -> Option<(&mut Option<f64>, &mut Option<f64>)> {
    match curvature {
        Curvature::Eva(config) => Some((&mut config.kl_clip, &mut config.kl_clip_lr)),
        Curvature::Kfac(config) => Some((&mut config.kl_clip, &mut config.kl_clip_lr)),
        Curvature::Mac | Curvature::Smac(_) | Curvature::Foof(_) => None,
    }
}

/// Whether a parameter of a case decays in any of its steps.
pub(crate) fn decays(case: &Case) -> bool {
    let from = case.optimizer().map(|optimizer| optimizer.decay_from);
    let mut groups = case.param_groups.iter();

    from.is_ok_and(|from| from < case.steps) && groups.any(|group| group.weight_decay > 0.0)
}

/// Of MAC only: SMAC asks for the gradients at an output, and the mistaken attention records one that is not the projection's own.
fn attends_with(case: &mut Case, means: QkvMeans) -> bool {
    case.qkv_means = means;
    let is_transformer = matches!(
        case.architecture.known(),
        Ok(ArchitectureKind::VisionTransformer)
    );

    is_transformer && case.official.cls == "MAC"
}
