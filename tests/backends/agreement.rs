//! How far the backends are from each other, and whether that is too far.

use crate::contender::{Answer, ORACLE, Outcome};
use crate::half::HalfRun;
use crate::run::{MistakenRun, difference, last_step};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use std::fmt;

/// Largest error of a gradient that was preconditioned in half precision, in units of half an epsilon of its largest
/// element: it is rounded once. With statistics in half precision 1.7 (attention's keys) to 35 (its output) are measured.
const HALF_ROUNDINGS: f64 = 1.1;

/// The same in single precision, in which all sums are taken: 1 to 77 are measured (attention's output). With products in
/// TF32, which has 13 bits less, it would be thousands.
const SINGLE_ROUNDINGS: f64 = 200.0;

/// The backends that compute in both types of half precision on any device. wgpu's device decides, and ndarray has none.
const HALF: [&str; 2] = ["flex", "cuda"];

/// The type of statistics, whatever that of the network.
const STATISTICS: &str = "F32";

/// The share of the first loss that is left after training in half precision. In `f32` it is 0.25;
/// without training it would be 1.
const HALF_LOSS: f64 = 0.5;

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
                for (layer, off) in &answer.single {
                    let off = off.0;
                    self.check(
                        off <= SINGLE_ROUNDINGS,
                        format!(
                            "{name}: the gradient of {layer} is off by {off:.0} roundings of f32"
                        ),
                    );
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
    pub(crate) fn require<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
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
                let allowed = expected.kind.allowed([name, other]);
                checks.push((
                    found.is_finite() && allowed.is_none_or(|allowed| found <= allowed),
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
            let run = self.oracle.runs.get(case);
            let noticed = match run.map(|run| run.kind.noticed(name)) {
                // Not judged on this backend.
                Some(None) => continue,
                noticed => noticed.flatten(),
            };
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
            let layers = answer.single.iter();
            let layers = layers.map(|(layer, off)| format!(" {layer} {:.1}", off.0));
            let layers: String = layers.collect();
            writeln!(
                f,
                "{name} in F32: preconditioned gradients off by, in roundings:{layers}"
            )?;
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

/// The largest differences, backend by case: to the oracle, and of any two backends.
pub(crate) fn differences_table(oracle: &Answer, answers: &[(&'static str, Answer)]) -> Table {
    let mut table = Table::new();
    let names = answers.iter().map(|(name, _)| name.to_string());
    let header = ["largest difference".into()].into_iter().chain(names);
    let header = header.chain(["any two".into(), "allowed".into()]);
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for case in oracle.runs.keys() {
        table.add_row(run_row(case, oracle, answers));
        // All make the same mistakes.
        let mistakes = answers
            .iter()
            .take(1)
            .flat_map(|(_, answer)| &answer.mistakes);
        for mistake in mistakes.filter(|mistake| mistake.case == *case) {
            table.add_row(mistake_row(mistake, oracle, answers));
        }
    }
    table
}

fn run_row(case: &str, oracle: &Answer, answers: &[(&'static str, Answer)]) -> Vec<String> {
    let expected = &oracle.runs[case];
    let runs = answers.iter().map(|(_, answer)| answer.runs.get(case));
    let runs: Vec<_> = runs.map(|run| run.map(|run| &run.parameters)).collect();
    let mut pairs: f64 = 0.0;
    for (index, left) in runs.iter().enumerate() {
        for right in runs[index + 1..].iter().flatten() {
            pairs = pairs.max(difference(*left, right));
        }
    }
    let differences = runs
        .iter()
        .map(|run| difference(*run, &expected.parameters));
    let mut row = vec![case.to_string()];
    row.extend(
        differences
            .chain([pairs])
            .map(|value| format!("{value:.1e}")),
    );
    let kind = expected.kind;
    row.push(per_backend("", answers, |name| {
        kind.allowed([name, ORACLE.name])
    }));
    row
}

fn mistake_row(
    MistakenRun { case, what, .. }: &MistakenRun,
    oracle: &Answer,
    answers: &[(&'static str, Answer)],
) -> Vec<String> {
    let mut row = vec![format!("the same {what}")];
    row.extend(answers.iter().map(|(_, answer)| {
        let mut mistakes = answer.mistakes.iter();
        let found = mistakes.find(|found| found.case == *case && found.what == *what);
        found.map_or(String::new(), |mistaken| {
            format!("{:.1e}", moved_by(mistaken, oracle))
        })
    }));
    row.push(String::new());
    let kind = oracle.runs[case].kind;
    row.push(per_backend("not below ", answers, |name| {
        kind.noticed(name)
    }));
    row
}

/// A number that is the oracle's for most backends, and those that have another one.
fn per_backend(
    prefix: &str,
    answers: &[(&'static str, Answer)],
    number: impl Fn(&str) -> Option<f64>,
) -> String {
    let text =
        |number: Option<f64>| number.map_or("not judged".into(), |number| format!("{number:.0e}"));
    let most = number(ORACLE.name);
    let others = answers.iter().filter_map(|(name, _)| {
        let own = number(name);
        (own != most).then(|| format!(", {name} {}", text(own)))
    });
    format!("{prefix}{}{}", text(most), others.collect::<String>())
}
