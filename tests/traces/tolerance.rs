//! How far a replay may be from its trace.

use crate::case::Case;

/// The least that an `f32` replay is allowed, absolute: the README of the traces finds the authors'
/// own `f32` up to 5e-7 from their `f64`, and another order of summation may be a few times that. The
/// smallest mistake known in MAC moves a parameter by 3.3e-4, 160 times as far.
const SINGLE_FLOOR: f64 = 2e-6;

/// Two `f32` runs that sum in different orders, in multiples of what the authors' `f32` differs from
/// their own `f64` in the same case: the README's factor for parameters.
const SINGLE_MARGIN: f64 = 10.0;

/// What an `f64` replay is allowed, absolute. Independent `f64` runs agree to 6e-15; a step that
/// falls to `f32` anywhere shows at 1e-8.
pub(crate) const DOUBLE: f64 = 1e-10;

/// What an `f32` replay of a case is allowed, absolute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(crate) parameter: f64,
    pub(crate) loss: f64,
    pub(crate) gradient: f64,
    damping: f64,
}

impl Tolerance {
    /// The tolerance of the README for the parameters, and the same rule, from the difference that
    /// the case states for them, for the losses and for the gradients. The raw gradients are of the
    /// size of the preconditioned ones and come from the same sums, so they share one tolerance.
    pub(crate) fn of(case: &Case) -> Self {
        let rule = |difference: f64| f64::max(SINGLE_FLOOR, SINGLE_MARGIN * difference);

        Self {
            parameter: rule(case.float64_max_abs_diff),
            loss: rule(case.float64_max_abs_diff_loss),
            gradient: rule(case.float64_max_abs_diff_precond),
            damping: case.hyper.damping,
        }
    }

    /// A softmax passes on no more than the difference of its scores, and these are sums of parameters
    /// times normalized inputs: it inherits the parameters' difference, and has no entry above one.
    pub(crate) fn attention(&self) -> f64 {
        self.parameter
    }

    /// An activation is a sum of parameters times inputs of order one: it inherits the parameters'
    /// difference, and rounds in proportion to its own size where that is above one.
    pub(crate) fn ema(&self, average: &[f64]) -> f64 {
        self.parameter * largest(average).max(1.0)
    }

    /// The authors invert in `f32`, which costs `epsilon · condition` relative to the inverse. The
    /// inputs are standardised, so the covariance of `n` of them has a trace of about `n`, and no
    /// damped eigenvalue is above `n + damping` or below `damping`.
    pub(crate) fn input_covariance(&self, inverse: &[f64]) -> f64 {
        let inputs = (inverse.len() as f64).sqrt();
        let condition = 1.0 + inputs / self.damping;

        f64::from(f32::EPSILON) * condition * largest(inverse)
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, v| largest.max(v.abs()))
}
