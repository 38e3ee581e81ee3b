use crate::agreement::right;
use crate::bounds::NOTICED;
use crate::contender::{Answer, ORACLE};
use crate::run::difference;
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
    }
    for (what, _) in &oracle.mistakes {
        table.add_row(mistake_row(what, oracle, answers));
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
    row.push(allowed(case, oracle, answers));
    row
}

/// What most may differ by, and the backends that may differ by more.
fn allowed(case: &str, oracle: &Answer, answers: &[(&'static str, Answer)]) -> String {
    let kind = oracle.runs[case].kind;
    let least = kind.allowed([ORACLE.name; 2]);
    let more = answers.iter().filter_map(|(name, _)| {
        let allowed = kind.allowed([name, ORACLE.name]);
        (allowed > least).then(|| format!(", {name} {allowed:.0e}"))
    });
    format!("{least:.0e}{}", more.collect::<String>())
}

fn mistake_row(what: &str, oracle: &Answer, answers: &[(&'static str, Answer)]) -> Vec<String> {
    let mistake = |answer: &Answer| {
        let right = right(oracle)?;
        let wrong = answer.mistakes.iter().find(|(found, _)| found == what)?;
        Some(difference(Some(&wrong.1), &right))
    };
    let mut row = vec![what.to_string()];
    row.extend(answers.iter().map(|(_, answer)| {
        mistake(answer).map_or(String::new(), |difference| format!("{difference:.1e}"))
    }));
    row.extend(["".into(), format!("not below {NOTICED:.0e}")]);
    row
}
