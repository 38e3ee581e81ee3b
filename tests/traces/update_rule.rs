//! The step of the authors' code after preconditioning, which `case.json` states in formulas.

use mac_burn::WeightDecayForm;

use crate::case::TraceError;

/// Momentum and weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct UpdateRule {
    /// Whether the step looks ahead along the momentum.
    pub(crate) nesterov: bool,
    /// Whether the first step looks ahead too.
    pub(crate) nesterov_first_step: bool,
    pub(crate) weight_decay_form: WeightDecayForm,
    /// The first step with weight decay, in multiples of `Tcov`.
    pub(crate) decay_from: usize,
}

/// Where a case says from which step on there is weight decay.
const DECAY_FROM: &str = "coupled weight decay only once step >= ";

impl UpdateRule {
    /// Reads the name of the update and its formulas, all of which must be known:
    /// `momentum_step: buf = momentum*buf + precond; p *= 1 - lr*weight_decay; p -= lr*buf`.
    pub(crate) fn read(text: &str) -> Result<Self, TraceError> {
        let unknown = |part: &str| {
            TraceError::Unsupported(format!("`{part}` of the update rule `{text}` is not known"))
        };
        let without_remarks = without_remarks(text);
        let (_, formulas) = without_remarks
            .split_once(':')
            .ok_or_else(|| unknown("no formula"))?;

        let mut nesterov = Vec::new();
        let mut nesterov_first_step = true;
        let mut decays = Vec::new();
        for formula in formulas.split([';', ',']) {
            let formula = without_time(formula.trim());
            match formula {
                // A buffer that starts from zero is the gradient after the first step.
                "buf = g" | "buf = momentum*buf + g" | "buf = momentum*buf + precond" => {}
                "p -= lr*buf" => nesterov.push(false),
                "p -= lr*(g + momentum*buf)" => nesterov.push(true),
                "p -= lr*g" => nesterov_first_step = false,
                "g = precond + weight_decay*p" | "coupled weight decay" => {
                    decays.push((WeightDecayForm::Coupled, 0));
                }
                "p *= 1 - lr*weight_decay" => decays.push((WeightDecayForm::Decoupled, 0)),
                _ => {
                    let from = formula
                        .strip_prefix(DECAY_FROM)
                        .and_then(|from| from.strip_suffix("*Tcov")?.parse().ok())
                        .ok_or_else(|| unknown(formula))?;
                    decays.push((WeightDecayForm::Coupled, from));
                }
            }
        }
        let ([nesterov], [(weight_decay_form, decay_from)]) = (&nesterov[..], &decays[..]) else {
            return Err(unknown("other than one step and one weight decay"));
        };

        Ok(Self {
            nesterov: *nesterov,
            nesterov_first_step,
            weight_decay_form: *weight_decay_form,
            decay_from: *decay_from,
        })
    }
}

/// The text without what is in parentheses after a space; those of a formula follow an operator.
fn without_remarks(text: &str) -> String {
    let mut parts = text.split(" (");
    let first = parts.next().unwrap_or_default().to_owned();

    parts.fold(first, |before, part| {
        let after = part.split_once(')').map_or("", |(_, after)| after);
        before + after
    })
}

/// A formula without the words for the steps that it is of.
fn without_time(formula: &str) -> &str {
    ["first step", "later"]
        .iter()
        .find_map(|time| formula.strip_prefix(time))
        .map_or(formula, |rest| rest.trim_start_matches(':').trim_start())
}
