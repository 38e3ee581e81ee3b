//! What a trace says at each point of a replay, against what the replay finds there.

use burn::tensor::{DType, Element, Tensor, backend::Backend};

use crate::{
    case::Case,
    differences::{Differences, Quantity},
    error::TraceError,
    names::{NamedValues, is_buffer},
    tolerance::{DOUBLE, Tolerance},
    trace::Trace,
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

/// What the trace calls the averages of a layer's means: that of the inputs and, for attention, the
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

    /// What was found.
    pub(crate) fn into_differences(self) -> Differences {
        self.differences
    }

    /// The inverse that preconditions the first layer; the authors' is kept in `f32` only.
    pub(crate) fn input_covariance(&mut self, inverse: &[f64]) -> Result<(), TraceError> {
        let key = "input_cov_inv";
        let expected = self.trace.floats(key)?;
        let allowed = self.tolerance.input_covariance(&expected);

        self.differences
            .compare(Quantity::InputCovariance, key, &expected, inverse, allowed)
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

        self.differences
            .compare(Quantity::Loss, &at, expected, &[loss], allowed)
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

        self.differences
            .compare(Quantity::Ema, key, &expected, &found, allowed)
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
            self.differences
                .compare(quantity, &key, &expected, found, allowed)?;
        }

        Ok(())
    }
}

/// A running variance is left out: PyTorch keeps the unbiased one, `n / (n − 1)` times Burn's, and
/// training never reads it.
fn is_compared_buffer(name: &str) -> bool {
    is_buffer(name) && !name.ends_with(".running_var")
}
