//! The numbers of a trace against those that a replay finds, and how far they may be from each other.

use burn::tensor::{DType, Element, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{
    case::{Case, Trace, TraceError},
    network::{NamedValues, is_buffer},
};

/// The float type of a replay, which decides what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Every step of the authors' `f32` run.
    Single,
    /// The losses and the end of the authors' `f64` run.
    Double,
}

impl Precision {
    /// The precision that a backend computes in.
    ///
    /// # Panics
    ///
    /// If that is not the backend's own: the first backend of a process that uses a kind of device
    /// decides the device's float type, for those that come later as well.
    pub(crate) fn of<B: Backend>(device: &B::Device) -> Self {
        let dtype = Tensor::<B, 1>::empty([1], device).dtype();
        assert_eq!(dtype, B::FloatElem::dtype(), "the device's float type");

        match dtype {
            DType::F32 => Self::Single,
            DType::F64 => Self::Double,
            other => panic!("no trace was made in {other:?}"),
        }
    }
}

/// The trace's names for the averages of a layer's means: that of the inputs and, for attention, the
/// attention-weighted one.
const EMAS: [&str; 2] = ["exp_avg", "exp_avg_v"];

/// Collects the differences of one replay.
pub(crate) struct Comparison<'a> {
    case: &'a Case,
    trace: &'a Trace,
    precision: Precision,
    tolerance: Tolerance,
    differences: Differences,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(case: &'a Case, trace: &'a Trace, precision: Precision) -> Self {
        Self {
            case,
            trace,
            precision,
            tolerance: Tolerance::of(case),
            differences: Differences::default(),
        }
    }

    /// The differences that were found.
    pub(crate) fn into_differences(self) -> Differences {
        self.differences
    }

    /// The inverse that preconditions the first layer; the authors' is kept in `f32` only.
    pub(crate) fn input_covariance(&mut self, inverse: &[f64]) -> Result<(), TraceError> {
        let key = "input_cov_inv";
        let expected = self.trace.floats(key)?;
        let allowed = self.tolerance.input_covariance(&expected);

        compare(
            &mut self.differences,
            Quantity::InputCovariance,
            key,
            &expected,
            inverse,
            allowed,
        )
    }

    /// The loss of a step, before its update.
    pub(crate) fn loss(&mut self, step: usize, loss: f64) -> Result<(), TraceError> {
        let (key, allowed) = match self.precision {
            Precision::Single => ("loss", self.tolerance.loss),
            Precision::Double => ("loss64", DOUBLE),
        };
        let losses = self.trace.floats(key)?;
        let expected = losses.get(step..=step).unwrap_or(&[]);
        let at = format!("{key} of step {step}");

        compare(
            &mut self.differences,
            Quantity::Loss,
            &at,
            expected,
            &[loss],
            allowed,
        )
    }

    /// The gradients of a step before preconditioning.
    pub(crate) fn gradients(&mut self, step: usize, found: &NamedValues) -> Result<(), TraceError> {
        self.recorded_gradients(Quantity::Gradient, "grad", step, found)
    }

    /// The gradients of a step after preconditioning, before weight decay and momentum.
    pub(crate) fn preconditioned(
        &mut self,
        step: usize,
        found: &NamedValues,
    ) -> Result<(), TraceError> {
        self.recorded_gradients(Quantity::Preconditioned, "precond", step, found)
    }

    fn recorded_gradients(
        &mut self,
        quantity: Quantity,
        family: &str,
        step: usize,
        found: &NamedValues,
    ) -> Result<(), TraceError> {
        let recorded = self.case.grad_recorded_at_steps.contains(&step);
        if self.precision == Precision::Double || !recorded {
            return Ok(());
        }
        let prefix = format!("{family}.{step:03}");
        let parameters: Vec<_> = self.case.param_shapes.keys().cloned().collect();

        self.tensors(quantity, &prefix, &parameters, found)
    }

    /// The attention that a step's batch gets, for the layers that the trace has it of.
    pub(crate) fn attention(
        &mut self,
        step: usize,
        averaged: impl FnOnce() -> Result<NamedValues, TraceError>,
    ) -> Result<(), TraceError> {
        let prefix = format!("avg_attn.{step:03}");
        let layers = self.trace.suffixes(&format!("{prefix}."));
        if self.precision == Precision::Double || layers.is_empty() {
            return Ok(());
        }

        self.tensors(Quantity::Attention, &prefix, &layers, &averaged()?)
    }

    /// The activation averages after a step, for the layers that the trace has them of.
    ///
    /// `averages` gives a layer's own, one for each of its means: the entry of the bias, which the trace
    /// has only for a layer with a bias, comes last.
    pub(crate) fn emas(
        &mut self,
        step: usize,
        averages: impl Fn(&str) -> Option<Vec<Vec<f64>>>,
    ) -> Result<(), TraceError> {
        if self.precision == Precision::Double {
            return Ok(());
        }
        for (index, family) in EMAS.into_iter().enumerate() {
            let prefix = format!("ema.{step:03}.{family}.");
            for layer in self.trace.suffixes(&prefix) {
                // A layer that has one mean only preconditions all of its columns by it.
                let found = averages(&layer)
                    .and_then(|means| means.get(index).or(means.last()).cloned())
                    .ok_or_else(|| TraceError::MissingEma(layer.clone()))?;
                self.ema(&format!("{prefix}{layer}"), &layer, found)?;
            }
        }

        Ok(())
    }

    fn ema(&mut self, key: &str, layer: &str, mut found: Vec<f64>) -> Result<(), TraceError> {
        let expected = self.trace.floats(key)?;
        if !self
            .case
            .param_shapes
            .contains_key(&format!("{layer}.bias"))
        {
            found.pop();
        }
        let allowed = self.tolerance.ema(&expected);

        compare(
            &mut self.differences,
            Quantity::Ema,
            key,
            &expected,
            &found,
            allowed,
        )
    }

    /// The parameters and running means after a step.
    pub(crate) fn parameters(
        &mut self,
        step: usize,
        found: &NamedValues,
    ) -> Result<(), TraceError> {
        let prefix = match self.precision {
            Precision::Single => format!("after.{step:03}"),
            Precision::Double if step + 1 == self.case.steps => "final64".to_owned(),
            Precision::Double => return Ok(()),
        };
        let buffers = self.trace.suffixes(&format!("{prefix}."));
        let compared: Vec<_> = self
            .case
            .param_shapes
            .keys()
            .cloned()
            .chain(buffers.into_iter().filter(|name| is_compared_buffer(name)))
            .collect();

        self.tensors(Quantity::Parameter, &prefix, &compared, found)
    }

    fn tensors(
        &mut self,
        quantity: Quantity,
        prefix: &str,
        names: &[String],
        found: &NamedValues,
    ) -> Result<(), TraceError> {
        let allowed = match (self.precision, quantity) {
            (Precision::Double, _) => DOUBLE,
            (Precision::Single, Quantity::Parameter) => self.tolerance.parameter,
            (Precision::Single, Quantity::Attention) => self.tolerance.attention(),
            (Precision::Single, _) => self.tolerance.gradient,
        };
        for name in names {
            let key = format!("{prefix}.{name}");
            let expected = self.trace.floats(&key)?;
            let found = found.get(name).map_or(&[][..], Vec::as_slice);
            compare(
                &mut self.differences,
                quantity,
                &key,
                &expected,
                found,
                allowed,
            )?;
        }

        Ok(())
    }
}

/// A running variance is left out: PyTorch keeps the unbiased one, `n / (n − 1)` times Burn's, and
/// training never reads it.
fn is_compared_buffer(name: &str) -> bool {
    is_buffer(name) && !name.ends_with(".running_var")
}

/// A kind of numbers that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Quantity {
    /// The inverse of the damped covariance of the first layer's input.
    InputCovariance,
    /// Attention averaged over batch, heads and queries, as the network's parameters give it.
    Attention,
    Loss,
    /// The gradient before preconditioning: not MAC's, but what tells a wrong network from a wrong
    /// optimizer.
    Gradient,
    Preconditioned,
    Ema,
    /// Parameters, and the running means among the buffers.
    Parameter,
}

impl Quantity {
    /// Every quantity, in the order of the table.
    pub(crate) const ALL: [Self; 7] = [
        Self::InputCovariance,
        Self::Attention,
        Self::Loss,
        Self::Gradient,
        Self::Preconditioned,
        Self::Ema,
        Self::Parameter,
    ];

    /// The name in the table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::InputCovariance => "input cov.",
            Self::Attention => "attention",
            Self::Loss => "loss",
            Self::Gradient => "gradient",
            Self::Preconditioned => "precond.",
            Self::Ema => "EMA",
            Self::Parameter => "parameter",
        }
    }
}

/// The largest difference of each quantity that was compared, absolute.
pub(crate) type Differences = mac_burn_tests::Differences<Quantity>;

/// Takes in the largest difference of values from those that the trace has at `at`.
fn compare(
    differences: &mut Differences,
    quantity: Quantity,
    at: &str,
    expected: &[f64],
    found: &[f64],
    allowed: f64,
) -> Result<(), TraceError> {
    if expected.len() != found.len() {
        return Err(TraceError::Length {
            name: at.to_owned(),
            expected: expected.len(),
            found: found.len(),
        });
    }
    let difference = largest_difference(expected, found);
    differences.add(quantity, at, difference, allowed);

    Ok(())
}

/// Not a number if one of them is not.
fn largest_difference(expected: &[f64], found: &[f64]) -> f64 {
    let differences = expected.iter().zip(found).map(|(e, f)| (e - f).abs());

    differences.fold(0.0, |largest, difference| {
        match difference > largest || difference.is_nan() {
            true => difference,
            false => largest,
        }
    })
}

/// The least that an `f32` replay is allowed, absolute: the README of the traces finds the authors'
/// own `f32` up to 5e-7 from their `f64` (1.8e-6 in `foof-mlp`), and another order of summation may be a few times that.
/// Of the mistakes that the tests make, 1 % less decay of the averages moves a parameter least: by 1.0e-5, 5 times as far, in
/// `eva-mlp`, where the old value has a weight of 0.05; by 4.2e-5 where it has one of 0.9 (`cnn`).
const SINGLE_FLOOR: f64 = 2e-6;

/// Two `f32` runs that sum in different orders, in multiples of what the authors' `f32` differs from
/// their own `f64` in the same case: the README's factor for parameters.
const SINGLE_MARGIN: f64 = 10.0;

/// The largest difference of an `f64` replay, absolute. The replays find up to 2.2e-13 in their parameters. One
/// thing alone in `f32` shows further out: statistics move a parameter by 2.6e-10 (`cnn`) to 4.2e-9
/// (`vit`), the scale of attention's scores, in their derivative only, by 3.6e-9 (`vit`).
pub(crate) const DOUBLE: f64 = 1e-10;

/// The largest differences of an `f32` replay of a case, absolute.
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
