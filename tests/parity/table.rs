//! The suite as a table: the largest difference of each quantity, network by network.

use std::fmt;

use comfy_table::{Table, presets};

use crate::{
    differences::Quantity,
    suite::{Compared, Suite},
};

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut header = vec!["network", "backend", "seconds"];
        header.extend(Quantity::ALL.map(Quantity::label));
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(header);
        for compared in &self.compared {
            table.add_row(row(compared));
        }

        writeln!(f, "largest difference from PyTorch / what is allowed")?;
        writeln!(f, "{table}")?;
        for name in &self.not_covered {
            writeln!(f, "NOT COVERED: {name}: no family of this test has it")?;
        }
        for (name, reason) in &self.failed {
            writeln!(f, "FAILED: {name}: {reason}")?;
        }
        writeln!(f, "{} networks have PyTorch's size", self.counted)?;
        if !self.not_counted.is_empty() {
            let names = self.not_counted.join(", ");
            writeln!(f, "sizes not covered: {names}")?;
        }
        write!(
            f,
            "{} comparisons, {} networks not covered, {} failures",
            self.compared.len(),
            self.not_covered.len(),
            self.failures().len()
        )
    }
}

fn row(compared: &Compared) -> Vec<String> {
    let seconds = format!("{:.1}", compared.duration.as_secs_f64());
    let mut row = vec![
        compared.fixture.clone(),
        compared.backend.to_owned(),
        seconds,
    ];
    row.extend(compared.differences.cells(Quantity::ALL));

    row
}
