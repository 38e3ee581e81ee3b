//! Settings that are not a case's own, each of which a replay must notice.

use crate::case::{ArchitectureKind, Case, QkvMeans};

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
            case.hyper.stat_decay *= 0.99;
            true
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
            case.hyper.tinv += 1;
            true
        },
    },
    Mistake {
        what: "1 % more weight decay",
        make: |case| {
            for group in &mut case.param_groups {
                group.weight_decay *= 1.01;
            }
            true
        },
    },
    Mistake {
        what: "the other form of weight decay",
        make: |case| {
            let decoupled = case.update.contains("decoupled");
            let other = if decoupled { "coupled" } else { "decoupled" };
            case.update = format!("momentum_step, {other}");
            true
        },
    },
    Mistake {
        what: "no weight decay on norms and biases",
        make: |case| {
            let shapes = case.param_shapes.clone();
            for (name, _) in shapes.iter().filter(|(_, shape)| shape.len() == 1) {
                case.put_in_group(name, 0.0);
            }
            true
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
];

fn attends_with(case: &mut Case, means: QkvMeans) -> bool {
    case.qkv_means = means;

    matches!(
        case.architecture.known(),
        Ok(ArchitectureKind::VisionTransformer)
    )
}
