use super::Monitor;

/// The progress of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The number of steps taken.
    pub step: usize,
    /// The mean loss of the steps since the last time, in nats; none if a run is resumed that was finished.
    pub train_loss: Option<f64>,
    /// The loss of what is not trained on, in nats.
    pub validation_loss: f64,
    /// The time of all steps since the run began or was resumed, without that of validation.
    pub seconds: f64,
}

impl From<Monitor> for Progress {
    fn from(monitor: Monitor) -> Self {
        Self {
            step: monitor.step,
            train_loss: Some(monitor.train_loss),
            validation_loss: monitor.validation_loss,
            seconds: monitor.seconds,
        }
    }
}
