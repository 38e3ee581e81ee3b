use crate::contender::{Answer, Parameters};
use crate::half_run::HalfRun;
use crate::process::Outcome;
use crate::trace_run::RECIPROCALS;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use std::fmt;

/// Largest difference of a parameter after any step of a trace. The authors' own `f32` differs from
/// their `f64` by 1e-7 to 5e-7, and other backends sum in other orders; the smallest mistake that
/// was tried in a trace of MAC moves a parameter by 6.5e-4.
const TRACE: f64 = 5e-6;

/// The same for a trace whose derivatives `NdArray<f32>` approximates, see
/// [`Case::takes_reciprocals`](crate::case::Case::takes_reciprocals): 1.2e-5 is measured in `vit` with
/// AVX-512, and AVX2 is six times as coarse. Attention's values by the wrong mean are 4.0e-3 away there.
const APPROXIMATE: f64 = 1e-4;

/// Largest difference of a parameter after 30 steps of the digits network, which are more steps of a
/// larger network than a trace's; each mistake below moves a parameter by more than 1e-2.
const DIGITS: f64 = 1e-4;

/// How much further than the tolerance a mistake must move a parameter, on every backend.
const MARGIN: f64 = 100.0;

/// The share of the first loss that is left after training in half precision. In `f32` it is 0.25;
/// without training it would be 1.
const HALF_LOSS: f64 = 0.5;

fn tolerance(case: &str) -> f64 {
    if case.starts_with("digits") {
        DIGITS
    } else if case.ends_with(RECIPROCALS) {
        APPROXIMATE
    } else {
        TRACE
    }
}

/// How the backends agree.
pub(crate) struct Agreement {
    oracle: Answer,
    answers: Vec<(&'static str, Answer)>,
    skipped: Vec<(&'static str, String)>,
    failures: Vec<String>,
    passed: usize,
}

impl Agreement {
    pub(crate) fn with(oracle: Answer) -> Self {
        Self {
            oracle,
            answers: Vec::new(),
            skipped: Vec::new(),
            failures: Vec::new(),
            passed: 0,
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, outcome: Outcome) {
        match outcome {
            Outcome::Skipped(reason) => self.skipped.push((name, reason)),
            Outcome::Failed(said) => self.failures.push(format!("{name} gave no answer: {said}")),
            Outcome::Answered(answer) => {
                self.compare_runs(name, &answer);
                self.compare_mistakes(name, &answer);
                answer
                    .half
                    .iter()
                    .for_each(|half| self.check_half(name, half));
                self.answers.push((name, *answer));
            }
        }
    }

    /// A required backend that was skipped, or is not compiled in, is a failure.
    pub(crate) fn require(&mut self, names: &str) {
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let answered = self.answers.iter().any(|(found, _)| *found == name);
            let failed = format!("{name} is required, but was not run");
            self.check(answered, failed);
        }
    }

    pub(crate) fn failed(&self) -> usize {
        self.failures.len()
    }

    fn check(&mut self, holds: bool, failure: String) {
        if holds {
            self.passed += 1;
        } else {
            self.failures.push(failure);
        }
    }

    /// Against the oracle, and against each backend before.
    fn compare_runs(&mut self, name: &str, answer: &Answer) {
        let mut failures = Vec::new();
        let mut passed = 0;
        let oracle = ("ndarray f64", &self.oracle);
        let others = self.answers.iter().map(|(name, answer)| (*name, answer));
        for (other, expected) in [oracle].into_iter().chain(others) {
            for (case, expected) in &expected.runs {
                let found = difference(answer.runs.get(case), expected);
                if found <= tolerance(case) {
                    passed += 1;
                } else {
                    failures.push(format!(
                        "{name} and {other} differ by {found:.1e} in {case}"
                    ));
                }
            }
        }
        self.passed += passed;
        self.failures.extend(failures);
    }

    fn compare_mistakes(&mut self, name: &str, answer: &Answer) {
        let right = self
            .oracle
            .runs
            .iter()
            .find(|(case, _)| case.starts_with("digits"));
        let Some((_, right)) = right else {
            return self
                .failures
                .push("the oracle did not run the digits network".into());
        };
        let found: Vec<_> = answer
            .mistakes
            .iter()
            .map(|(what, wrong)| (what.clone(), difference(Some(wrong), right)))
            .collect();
        for (what, found) in found {
            let noticed = found >= MARGIN * DIGITS;
            self.check(
                noticed,
                format!("{name}: a {what} moves parameters by {found:.1e} only"),
            );
        }
    }

    fn check_half(&mut self, name: &str, half: &HalfRun) {
        if half.unsupported.is_some() {
            return;
        }
        let learns = half.last_loss < HALF_LOSS * half.first_loss;
        let keeps = half.parameters == half.dtype && half.statistics == "F32";
        self.check(
            learns && keeps,
            format!("{name}: half precision went wrong: {half:?}"),
        );
    }

    fn differences(&self) -> Table {
        let mut table = Table::new();
        let names = self.answers.iter().map(|(name, _)| format!("{name} − f64"));
        let header = ["largest difference".into()].into_iter().chain(names);
        let header = header.chain(["any two".into(), "allowed".into()]);
        table.load_preset(ASCII_MARKDOWN).set_header(header);
        for (case, expected) in &self.oracle.runs {
            let runs: Vec<_> = self
                .answers
                .iter()
                .map(|(_, answer)| answer.runs.get(case))
                .collect();
            let mut pairs: f64 = 0.0;
            for (index, left) in runs.iter().enumerate() {
                for right in runs[index + 1..].iter().flatten() {
                    pairs = pairs.max(difference(*left, right));
                }
            }
            let row = runs.iter().map(|run| difference(*run, expected));
            let row = row
                .chain([pairs, tolerance(case)])
                .map(|value| format!("{value:.1e}"));
            table.add_row([case.clone()].into_iter().chain(row));
        }
        for what in self.oracle.mistakes.keys() {
            let right = self
                .oracle
                .runs
                .iter()
                .find(|(case, _)| case.starts_with("digits"));
            let row = self
                .answers
                .iter()
                .filter_map(|(_, answer)| Some(difference(answer.mistakes.get(what), right?.1)));
            let row = row.map(|value| format!("{value:.1e}"));
            table.add_row(
                [format!("digits, {what}")]
                    .into_iter()
                    .chain(row)
                    .chain(["".into(), format!("not below {:.0e}", MARGIN * DIGITS)]),
            );
        }
        table
    }
}

/// The largest difference of any parameter; infinite where one is missing or not a number.
fn difference(found: Option<&Parameters>, expected: &Parameters) -> f64 {
    let Some(found) = found.filter(|found| found.keys().eq(expected.keys())) else {
        return f64::INFINITY;
    };
    let mut largest: f64 = 0.0;
    for (found, expected) in found.values().zip(expected.values()) {
        if found.len() != expected.len() {
            return f64::INFINITY;
        }
        for (found, expected) in found.iter().zip(expected) {
            let difference = (found - expected).abs();
            largest = if difference.is_nan() {
                f64::INFINITY
            } else {
                largest.max(difference)
            };
        }
    }
    largest
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.differences())?;
        for (name, answer) in &self.answers {
            for half in &answer.half {
                match &half.unsupported {
                    Some(reason) => writeln!(f, "{name} {}: not run, {reason}", half.dtype)?,
                    None => writeln!(
                        f,
                        "{name} {}: loss {:.3} to {:.3} in 30 steps, statistics in {}",
                        half.dtype, half.first_loss, half.last_loss, half.statistics
                    )?,
                }
            }
        }
        for (name, reason) in &self.skipped {
            writeln!(f, "SKIPPED {name}: {reason}")?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failures.len(),
            self.skipped.len()
        )
    }
}
