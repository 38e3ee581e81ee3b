//! The suite as a table: the largest difference of each quantity, case by case.

use std::fmt;

use comfy_table::{Table, presets};

use crate::{
    differences::{Quantity, Worst},
    suite::{Replay, Suite},
};

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantities = Quantity::ALL.map(|quantity| quantity.label().to_owned());
        let mut header = vec!["case".to_owned(), "backend".to_owned(), "route".to_owned()];
        header.extend(quantities);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(header);
        for replay in &self.replays {
            table.add_row(row(replay));
        }

        writeln!(f, "largest difference from the trace / what is allowed")?;
        writeln!(f, "{table}")?;
        if self.replays.iter().any(|r| r.differences.is_none()) {
            writeln!(f, "n/a: `Mac` has one weight decay and exemptions from it")?;
            writeln!(
                f,
                "n/a: ndarray f32 approximates the derivative of a division"
            )?;
        }
        for case in &self.not_covered {
            writeln!(f, "not covered: {}: {}", case.case, case.reason)?;
        }
        for failed in &self.failed {
            writeln!(f, "FAILED: {}: {}", failed.case, failed.reason)?;
        }
        write!(
            f,
            "{} cases replayed, {} not covered, {} failed",
            self.replayed,
            self.not_covered.len(),
            self.failed.len()
        )
    }
}

fn row(replay: &Replay) -> Vec<String> {
    let cells = Quantity::ALL.map(|quantity| match &replay.differences {
        None => "n/a".to_owned(),
        Some(differences) => differences
            .worst(quantity)
            .map_or_else(|| "-".to_owned(), cell),
    });
    let mut row = vec![
        replay.case.clone(),
        replay.backend.clone(),
        replay.route.label().to_owned(),
    ];
    row.extend(cells);

    row
}

fn cell(worst: &Worst) -> String {
    let mark = if worst.exceeds() { " !" } else { "" };

    format!("{:.1e}/{:.0e}{mark}", worst.difference, worst.allowed)
}
