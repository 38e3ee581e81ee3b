use std::error::Error;

use burn::module::AutodiffModule;
use burn::optim::Optimizer;
use burn::tensor::backend::AutodiffBackend;
use indicatif::ProgressBar;
use mac_burn_examples::training::{Monitor, Schedule, Session, Task, WithOptimizer, train};

/// A run that is watched.
pub(crate) struct Trial<'a, T, M> {
    pub(crate) task: &'a T,
    pub(crate) model: M,
    pub(crate) schedule: Schedule,
    /// Steps between two validations.
    pub(crate) every: usize,
    pub(crate) seen: &'a mut Vec<Monitor>,
}

impl<B, M, T> WithOptimizer<B, M> for Trial<'_, T, M>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    T: Task<B, Model = M>,
{
    fn run<O: Optimizer<M, B> + 'static>(self, optimizer: O) -> Result<(M, O), Box<dyn Error>> {
        let session = Session {
            task: self.task,
            model: self.model,
            optimizer,
            schedule: self.schedule,
            step: 0,
        };
        let session = train(session, self.every, &ProgressBar::hidden(), |_, monitor| {
            self.seen.push(monitor);
            match monitor.validation_loss.is_finite() {
                true => Ok(()),
                false => Err("the run diverged".into()),
            }
        })?;
        Ok((session.model, session.optimizer))
    }
}
