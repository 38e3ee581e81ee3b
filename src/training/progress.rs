use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::Validation;

/// The progress of a run at a validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of steps taken.
    pub step: usize,
    /// The mean loss of the steps since the last time, in nats; none if a run is resumed that was finished.
    pub train_loss: Option<f64>,
    /// The loss of what is not trained on, in nats.
    pub validation_loss: f64,
    /// The share of it that is classified correctly, in percent; none where there are no classes.
    pub validation_accuracy: Option<f64>,
    /// The time of all steps since the run began, without that of validation.
    pub seconds: f64,
}

impl Progress {
    /// The columns of a table whose rows are [displayed](Display).
    pub const HEADER: &str = "  step  train nats  val nats  val accuracy      time";

    /// The progress after `step` steps.
    pub fn new(step: usize, train_loss: Option<f64>, validation: Validation, seconds: f64) -> Self {
        Self {
            step,
            train_loss,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            seconds,
        }
    }

    /// The training loss as text of four digits after the point, empty if there is none.
    pub fn train_text(&self) -> String {
        let text = self.train_loss.map(|loss| format!("{loss:.4}"));
        text.unwrap_or_default()
    }
}

impl Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accuracy = self.validation_accuracy;
        let accuracy = accuracy.map(|accuracy| format!("{accuracy:.2} %"));
        write!(
            f,
            "{:>6}  {:>10}  {:>8.4}  {:>12}  {:>6.1} s",
            self.step,
            self.train_text(),
            self.validation_loss,
            accuracy.unwrap_or_default(),
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_below_its_header() {
        let validation = Validation {
            loss: 0.5,
            accuracy: Some(97.25),
        };
        let row = Progress::new(100, Some(1.25), validation, 2.0).to_string();
        assert_eq!(row, "   100      1.2500    0.5000       97.25 %     2.0 s");
        assert_eq!(row.len(), Progress::HEADER.len());
    }
}
