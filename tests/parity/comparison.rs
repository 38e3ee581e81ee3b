//! Runs a network on a fixture's input and compares everything that the fixture has.

use burn::tensor::backend::AutodiffBackend;

use crate::{
    batch::Batch,
    differences::{Differences, Quantity},
    error::ParityError,
    fill::Alteration,
    fixture::{DoubleCheck, Fixture, Gradient, RunningStatistics, Tolerance},
    running::{Extract, Running},
    subject::{Described, Output, Slope, Subject},
};

/// The logits of a fixture are stored in single precision: half a unit in the last place of 24 bits, relative.
const STORED: f64 = 6e-8;

/// A gradient or statistic below this length is 0 but for rounding, and nothing can be said in proportion to it; those of the
/// fixtures are 2e-3 and more.
const NEGLIGIBLE: f64 = 1e-12;

/// The precision of a backend, which decides what it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Single,
    Double,
}

/// Compares a network with a fixture, after an alteration of its weights if there is one.
pub(crate) fn compare<B: AutodiffBackend>(
    fixture: &Fixture,
    mut subject: Box<dyn Subject<B>>,
    precision: Precision,
    alteration: Option<Alteration>,
) -> Result<Differences, ParityError> {
    check_tensors(fixture, &subject.tensors())?;
    subject.fill(fixture, alteration)?;
    let (batch, device) = (Batch::of(fixture)?, Default::default());
    let evaluated = subject.evaluate(&batch, &device)?;
    let step = subject.train(&batch, &device)?;

    let mut comparison = Comparison {
        precision,
        tolerance: match precision {
            Precision::Single => fixture.tolerance.f32,
            Precision::Double => fixture.tolerance.f64,
        },
        differences: Differences::default(),
    };
    let (eval, train) = (&fixture.eval, &fixture.train);
    let quantities = (Quantity::Logits, Quantity::Loss);
    comparison.output(
        quantities,
        &evaluated,
        &eval.logits,
        eval.loss,
        &eval.f64_check,
    )?;
    let quantities = (Quantity::TrainingLogits, Quantity::TrainingLoss);
    let logits = fixture.training_logits();
    comparison.output(
        quantities,
        &step.output,
        logits,
        train.loss,
        &train.f64_check,
    )?;
    comparison.gradients(&train.gradients, &step.slopes)?;
    comparison.running(&train.bn_after_train, &step.running)?;

    Ok(comparison.differences)
}

/// Compares numbers of parameters, names and shapes.
fn check_tensors(fixture: &Fixture, found: &[Described]) -> Result<(), ParityError> {
    fixture.counts.check(found)?;
    for expected in fixture.tensors() {
        let here = found.iter().find(|found| found.name == expected.name);
        let here = here.ok_or_else(|| ParityError::Missing(expected.name.clone()))?;
        if here.shape != expected.shape {
            return Err(ParityError::Shape {
                name: expected.name.clone(),
                expected: expected.shape.clone(),
                found: here.shape.clone(),
            });
        }
    }
    found
        .iter()
        .try_for_each(|found| fixture.tensor(&found.name).map(|_| ()))
}

struct Comparison {
    precision: Precision,
    tolerance: Tolerance,
    differences: Differences,
}

impl Comparison {
    fn output(
        &mut self,
        (logits, loss): (Quantity, Quantity),
        found: &Output,
        expected: &[f32],
        expected_loss: f64,
        check: &DoubleCheck,
    ) -> Result<(), ParityError> {
        check_length("logits", expected.len(), found.logits.len())?;
        let stored = match self.precision {
            Precision::Single => 0.0,
            Precision::Double => STORED,
        };
        for (index, (expected, found)) in expected.iter().zip(&found.logits).enumerate() {
            let expected = f64::from(*expected);
            let allowed = self.tolerance.logits_abs + stored * expected.abs();
            let at = format!("logit {index}");
            self.differences.add(logits, &at, found - expected, allowed);
        }
        if self.precision == Precision::Double {
            self.in_full(&found.logits, check);
        }
        let difference = found.loss - expected_loss;
        self.differences
            .add(loss, "the loss", difference, self.tolerance.loss_abs);

        Ok(())
    }

    /// Compares what is stored in all digits. When each logit is off by `t`, a sum of n of them is by up to `n t`, and
    /// the sum of their squares by `2 t` times the sum of their magnitudes.
    fn in_full(&mut self, logits: &[f64], check: &DoubleCheck) {
        let allowed = self.tolerance.logits_abs;
        let mut add = |at: &str, difference: f64, times: f64| {
            let allowed = times * allowed;
            self.differences
                .add(Quantity::LogitsInFull, at, difference, allowed);
        };
        for (index, (expected, found)) in check.first8.iter().zip(logits).enumerate() {
            add(&format!("logit {index}"), found - expected, 1.0);
        }
        let sum: f64 = logits.iter().sum();
        let squares: f64 = logits.iter().map(|logit| logit * logit).sum();
        let magnitudes: f64 = logits.iter().map(|logit| logit.abs()).sum();
        let count = logits.len() as f64;
        add("the sum of the logits", sum - check.sum, count);
        let difference = squares - check.sum_of_squares;
        add("the sum of their squares", difference, 2.0 * magnitudes);
    }

    fn gradients(&mut self, expected: &[Gradient], found: &[Slope]) -> Result<(), ParityError> {
        check_length("gradients", expected.len(), found.len())?;
        for expected in expected {
            let here = found.iter().find(|found| found.name == expected.name);
            let here = here.ok_or_else(|| ParityError::Missing(expected.name.clone()))?;
            self.gradient(expected, here)?;
        }

        Ok(())
    }

    fn running(
        &mut self,
        expected: &[RunningStatistics],
        found: &[Running],
    ) -> Result<(), ParityError> {
        check_length("norms", expected.len(), found.len())?;
        for expected in expected {
            let name = &expected.name;
            let here = found.iter().find(|found| found.name == *name);
            let here = here.ok_or_else(|| ParityError::Missing(name.clone()))?;
            let mean = Extract {
                l2: expected.l2_running_mean,
                first: expected.running_mean_0,
            };
            let variance = Extract {
                l2: expected.l2_running_var,
                first: expected.running_var_0,
            };
            self.statistic(Quantity::RunningMean, name, mean, Extract::of(&here.mean));
            let found = Extract::of(&here.variance);
            self.statistic(Quantity::RunningVariance, name, variance, found);
        }

        Ok(())
    }

    fn statistic(&mut self, quantity: Quantity, norm: &str, expected: Extract, found: Extract) {
        for difference in [found.l2 - expected.l2, found.first - expected.first] {
            let difference = difference / unit(expected.l2);
            let allowed = self.tolerance.bn_l2_rel;
            self.differences.add(quantity, norm, difference, allowed);
        }
    }

    fn gradient(&mut self, expected: &Gradient, found: &Slope) -> Result<(), ParityError> {
        let (name, unit) = (&expected.name, unit(expected.l2));
        let tolerance = self.tolerance;
        let norm = (found.l2 - expected.l2) / unit;
        self.differences
            .add(Quantity::GradientNorm, name, norm, tolerance.grad_l2_rel);
        let projection = (found.dot_with_wave - expected.dot_with_wave) / unit;
        let mut add = |at: String, difference: f64| {
            let allowed = tolerance.grad_element_of_l2;
            self.differences
                .add(Quantity::Gradient, &at, difference, allowed);
        };
        add(format!("{name} along its wave"), projection);
        check_length("first elements", expected.first4.len(), found.first4.len())?;
        for (index, (expected, found)) in expected.first4.iter().zip(&found.first4).enumerate() {
            let difference = (found - expected) / unit;
            add(format!("{name}, element {index},"), difference);
        }

        Ok(())
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), ParityError> {
    match expected == found {
        true => Ok(()),
        false => Err(ParityError::Count {
            what,
            expected,
            found,
        }),
    }
}

/// The number by which differences of a vector of this length are divided.
fn unit(l2: f64) -> f64 {
    match l2 < NEGLIGIBLE {
        true => 1.0,
        false => l2,
    }
}

/// Breaks when a gradient that is 0 cannot be right, or anything passes for it.
#[test]
fn a_gradient_of_zero_is_compared_as_it_is() {
    let largest = |found: f64| {
        let tolerance = Tolerance {
            logits_abs: 0.0,
            loss_abs: 0.0,
            grad_l2_rel: 1e-9,
            grad_element_of_l2: 1e-9,
            bn_l2_rel: 0.0,
        };
        let mut comparison = Comparison {
            precision: Precision::Double,
            tolerance,
            differences: Differences::default(),
        };
        let name = "attn.qkv.bias".to_owned();
        let expected = Gradient {
            name: name.clone(),
            l2: 0.0,
            dot_with_wave: 0.0,
            first4: vec![0.0; 4],
        };
        let found = Slope::of(name, &[found; 4]);
        let compared = comparison.gradient(&expected, &found);
        compared.expect("both have four elements");
        let largest = comparison.differences.largest();
        largest.expect("numbers are compared").ratio()
    };

    assert_eq!(largest(0.0), 0.0);
    assert!(largest(1e-17) < 1.0);
    assert!(largest(1e-8) > 1.0);
}
