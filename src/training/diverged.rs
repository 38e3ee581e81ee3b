use thiserror::Error;

use super::Progress;

/// A loss that is not finite: the parameters have gone where no step leads back from.
#[derive(Clone, Copy, Debug, Error)]
#[error(
    "training diverged: the {kind} loss is {loss} at step {step}, and must be finite; try a learning rate (--lr) below {lr}"
)]
pub struct Diverged {
    /// The name of the loss, `training` or `validation`.
    pub kind: &'static str,
    /// The loss.
    pub loss: f64,
    /// The number of steps taken.
    pub step: usize,
    /// The learning rate after the warm-up.
    pub lr: f64,
}

impl Diverged {
    /// Checks both losses: that of training is of the networks before each step, and says nothing of the last step.
    ///
    /// # Errors
    /// If one of them is not finite.
    pub fn check(progress: &Progress, lr: f64) -> Result<(), Self> {
        let losses = [
            ("training", progress.train_loss.unwrap_or_default()),
            ("validation", progress.validation_loss),
        ];
        match losses.into_iter().find(|(_, loss)| !loss.is_finite()) {
            None => Ok(()),
            Some((kind, loss)) => Err(Self {
                kind,
                loss,
                step: progress.step,
                lr,
            }),
        }
    }
}
