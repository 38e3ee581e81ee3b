use mac_burn_examples::training::Progress;

/// The outcome of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome(pub(crate) Vec<Progress>);

impl Outcome {
    /// The lowest validation loss; infinite if the run diverged.
    pub(crate) fn best(&self) -> f64 {
        let diverged = self.0.iter().any(|seen| !seen.validation_loss.is_finite());
        let losses = self.0.iter().map(|seen| seen.validation_loss);
        match diverged {
            true => f64::INFINITY,
            false => losses.fold(f64::INFINITY, f64::min),
        }
    }

    /// The training loss at the end.
    pub(crate) fn train_loss(&self) -> f64 {
        let last = self.0.last().and_then(|seen| seen.train_loss);
        last.unwrap_or(f64::NAN)
    }

    /// The first time that the validation loss was this low.
    pub(crate) fn first_below(&self, loss: f64) -> Option<Progress> {
        self.0
            .iter()
            .find(|seen| seen.validation_loss <= loss)
            .copied()
    }
}
