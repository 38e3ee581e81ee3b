use crate::outcome::Outcome;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use mac_burn_examples::optimizer_choice::OptimizerChoice;
use std::fmt;

/// The runs of an optimizer at its best learning rate.
pub(crate) struct Row {
    pub(crate) optimizer: OptimizerChoice,
    pub(crate) lr: f64,
    pub(crate) outcomes: Vec<Outcome>,
}

/// The optimizers on one task.
pub(crate) struct Standings {
    pub(crate) rows: Vec<Row>,
    /// The loss that the times are to, if it was given.
    pub(crate) goal: Option<f64>,
}

impl Standings {
    /// The loss that the times are to; by itself the highest of the optimizers' mean best losses, rounded up, which all
    /// reach on average.
    fn goal(&self) -> f64 {
        let means = self.rows.iter().map(|row| mean(&row.losses()));
        self.goal
            .unwrap_or((means.fold(0.0, f64::max) * 100.0).ceil() / 100.0)
    }
}

impl Row {
    fn losses(&self) -> Vec<f64> {
        self.outcomes.iter().map(Outcome::best).collect()
    }

    /// Steps and seconds to a loss, of the runs that reach it, and how many these are where others do not.
    fn to_goal(&self, goal: f64) -> [String; 2] {
        let reached = self.outcomes.iter().filter_map(|run| run.first_below(goal));
        let reached: Vec<_> = reached.collect();
        let steps = reached.iter().map(|seen| seen.step as f64).collect();
        let seconds = reached.iter().map(|seen| seen.seconds).collect();
        [(steps, 0), (seconds, 1)].map(|(values, decimals): (Vec<f64>, _)| {
            let (reached, runs) = (values.len(), self.outcomes.len());
            match reached {
                0 => format!("0 of {runs} runs"),
                _ if reached == runs => spread(&values, decimals),
                _ => format!("{} ({reached} of {runs} runs)", spread(&values, decimals)),
            }
        })
    }
}

impl fmt::Display for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goal = self.goal();
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header([
            "optimizer".to_string(),
            "learning rate".to_string(),
            "validation loss".to_string(),
            "training loss at the end".to_string(),
            format!("steps to {goal}"),
            format!("seconds to {goal}"),
        ]);
        for row in &self.rows {
            let train: Vec<f64> = row.outcomes.iter().map(Outcome::train_loss).collect();
            let [steps, seconds] = row.to_goal(goal);
            table.add_row([
                row.optimizer.to_string(),
                row.lr.to_string(),
                spread(&row.losses(), 4),
                spread(&train, 4),
                steps,
                seconds,
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}

/// Mean ± standard deviation.
fn spread(values: &[f64], decimals: usize) -> String {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    let deviation = (squares.sum::<f64>() / (values.len().max(2) - 1) as f64).sqrt();
    format!("{mean:.decimals$} ± {deviation:.decimals$}")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
