use burn::train::metric::store::{Aggregate, EventStoreClient, Split};
use burn::train::{EarlyStoppingStrategy, Interrupter};

/// Stops a training after an epoch whose mean loss is not finite, and gives the reason to its interrupter.
#[derive(Clone)]
pub struct StopWhenDiverged(pub Interrupter);

impl EarlyStoppingStrategy for StopWhenDiverged {
    fn should_stop(&mut self, epoch: usize, store: &EventStoreClient) -> bool {
        let loss = store.find_metric("Loss", epoch, Aggregate::Mean, &Split::Train);
        let diverged = loss.is_some_and(|loss| !loss.is_finite());
        if diverged {
            let reason = format!("the loss of epoch {epoch} is not finite; try a smaller --lr");
            self.0.stop(Some(&reason));
        }
        diverged
    }
}
