use crate::agreement::moved_by;
use crate::contender::{Answer, ORACLE};
use crate::run::{MistakenRun, difference};
use comfy_table::{Table, presets::ASCII_MARKDOWN};

/// The largest differences, backend by case: to the oracle, and of any two backends.
pub(crate) fn differences_table(oracle: &Answer, answers: &[(&'static str, Answer)]) -> Table {
    let mut table = Table::new();
    let names = answers.iter().map(|(name, _)| name.to_string());
    let header = ["largest difference".into()].into_iter().chain(names);
    let header = header.chain(["any two".into(), "allowed".into()]);
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for case in oracle.runs.keys() {
        table.add_row(run_row(case, oracle, answers));
        let mistakes = oracle.mistakes.iter();
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
    number: impl Fn(&str) -> f64,
) -> String {
    let most = number(ORACLE.name);
    let others = answers.iter().filter_map(|(name, _)| {
        let own = number(name);
        (own != most).then(|| format!(", {name} {own:.0e}"))
    });
    format!("{prefix}{most:.0e}{}", others.collect::<String>())
}
