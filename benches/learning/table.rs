use crate::outcome::Outcome;
use crate::ratio::median;
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

    /// Steps and seconds to a loss, the median over the seeds, and how many seeds reached it.
    fn to_goal(&self, goal: f64) -> [String; 2] {
        let reached = self.outcomes.iter().filter_map(|run| run.first_below(goal));
        let reached: Vec<_> = reached.collect();
        if reached.len() < self.outcomes.len() {
            let of = format!("{} of {} runs", reached.len(), self.outcomes.len());
            return [of.clone(), of];
        }
        let steps = median(reached.iter().map(|seen| seen.step as f64).collect());
        let seconds = median(reached.iter().map(|seen| seen.seconds).collect());
        [format!("{steps}"), format!("{seconds:.1}")]
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
                spread(&row.losses()),
                spread(&train),
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
fn spread(values: &[f64]) -> String {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    let deviation = (squares.sum::<f64>() / (values.len().max(2) - 1) as f64).sqrt();
    format!("{mean:.4} ± {deviation:.4}")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
