use crate::bounds::{HALF, HALF_LOSS, HALF_ROUNDINGS, STATISTICS};
use crate::contender::{Answer, ORACLE};
use crate::differences_table::differences_table;
use crate::half_run::HalfRun;
use crate::process::Outcome;
use crate::run::{MistakenRun, difference, last_step};
use std::fmt;

/// How the backends agree.
pub(crate) struct Agreement {
    oracle: Answer,
    answers: Vec<(&'static str, Answer)>,
    /// Backends, their types and traces that were not run, and why.
    skipped: Vec<(String, String)>,
    failures: Vec<String>,
    passed: usize,
}

impl Agreement {
    pub(crate) fn with(oracle: Answer) -> Self {
        Self {
            answers: Vec::new(),
            skipped: oracle.not_run.clone(),
            oracle,
            failures: Vec::new(),
            passed: 0,
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, outcome: Outcome) {
        match outcome {
            Outcome::Skipped(reason) => self.skipped.push((name.into(), reason)),
            Outcome::Failed(said) => self.failures.push(format!("{name} gave no answer: {said}")),
            Outcome::Answered(answer) => {
                self.compare_runs(name, &answer);
                self.compare_mistakes(name, &answer);
                for (dtype, half) in &answer.half {
                    self.check_half(name, dtype, half.as_ref());
                }
                if let Some(selected) = &answer.selected {
                    self.check(
                        selected.contains(name),
                        format!("{name} should be selected, and {selected} is"),
                    );
                    self.check(
                        !selected.contains("DefaultDevice"),
                        format!("the device should be named, and is not: {selected}"),
                    );
                }
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

    /// A backend whose driver is hidden must be skipped, in a sentence with these parts.
    pub(crate) fn expect_skipped(&mut self, name: &str, outcome: Outcome, parts: &[&str]) {
        let (skipped, said) = match outcome {
            Outcome::Skipped(said) => (parts.iter().all(|part| said.contains(part)), said),
            Outcome::Failed(said) => (false, said),
            Outcome::Answered(_) => (false, "it answered".into()),
        };
        let failure = format!("{name} without a driver is not skipped with {parts:?}: {said}");
        self.check(skipped, failure);
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
        let mut checks = Vec::new();
        let others = self.answers.iter().map(|(name, answer)| (*name, answer));
        for (other, expected) in [(ORACLE.name, &self.oracle)].into_iter().chain(others) {
            for (case, expected) in &expected.runs {
                let found = answer.runs.get(case).map(|run| &run.parameters);
                let found = difference(found, &expected.parameters);
                checks.push((
                    found <= expected.kind.allowed([name, other]),
                    format!("{name} and {other} differ by {found:.1e} in {case}"),
                ));
            }
        }
        for (holds, failure) in checks {
            self.check(holds, failure);
        }
    }

    fn compare_mistakes(&mut self, name: &str, answer: &Answer) {
        for mistaken in &answer.mistakes {
            let MistakenRun { case, what, .. } = mistaken;
            let noticed = self.oracle.runs.get(case).map(|run| run.kind.noticed(name));
            let moved = moved_by(mistaken, &self.oracle);
            let failure = format!("{name}: {case}, {what}, moves parameters by {moved:.1e} only");
            let noticed = noticed.is_some_and(|noticed| moved.is_finite() && moved >= noticed);
            self.check(noticed, failure);
        }
    }

    fn check_half(&mut self, name: &str, dtype: &str, run: Option<&HalfRun>) {
        let Some(run) = run else {
            let reason = "the backend or its device does not compute in it";
            return match HALF.contains(&name) {
                true => self.check(false, format!("{name} in {dtype}: {reason}")),
                false => self
                    .skipped
                    .push((format!("{name} in {dtype}"), reason.into())),
            };
        };
        let learns = run.last_loss.0 < HALF_LOSS * run.first_loss.0;
        let keeps = run.parameters.values().all(|found| found == dtype);
        let counts = run.statistics.values().all(|found| found == STATISTICS);
        let rounds = run.roundings.values().all(|off| off.0 <= HALF_ROUNDINGS);
        self.check(
            learns && keeps && counts && rounds,
            format!("{name}: half precision went wrong: {dtype}, {run:?}"),
        );
    }
}

/// How far a mistake moves the parameters after the last step.
pub(crate) fn moved_by(mistaken: &MistakenRun, oracle: &Answer) -> f64 {
    let wrong = last_step(&mistaken.parameters);
    let right = oracle.runs.get(&mistaken.case);
    right.map_or(0.0, |right| {
        difference(Some(&wrong), &last_step(&right.parameters))
    })
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", differences_table(&self.oracle, &self.answers))?;
        for (name, answer) in &self.answers {
            for (dtype, half) in &answer.half {
                if let Some(half) = half {
                    writeln!(f, "{name} in {dtype}: {half}")?;
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
