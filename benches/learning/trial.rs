use std::error::Error;

use burn::module::AutodiffModule;
use burn::optim::Optimizer;
use burn::tensor::backend::AutodiffBackend;
use indicatif::ProgressBar;
use mac_burn_examples::training::{Progress, Schedule, Session, Task, WithOptimizer};

/// A run that is watched.
pub(crate) struct Trial<'a, T, M> {
    pub(crate) task: &'a T,
    pub(crate) model: M,
    pub(crate) schedule: Schedule,
    /// Steps between two validations.
    pub(crate) every: usize,
    pub(crate) seen: &'a mut Vec<Progress>,
}

impl<B, M, T> WithOptimizer<B, M> for Trial<'_, T, M>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    T: Task<B, Model = M>,
{
    fn run<O: Optimizer<M, B> + 'static>(self, optimizer: O) -> Result<(M, O), Box<dyn Error>> {
        let session = Session::new(self.task, self.model, optimizer, self.schedule);
        let session = session.train(self.every, &ProgressBar::hidden(), |_, progress| {
            self.seen.push(progress);
            match progress.validation_loss.is_finite() {
                true => Ok(()),
                false => Err("the run diverged".into()),
            }
        })?;
        Ok((session.model, session.optimizer))
    }
}
