//! A training run.

use std::error::Error;
use std::path::PathBuf;

use burn::config::Config;
use burn::lr_scheduler::cosine::{CosineAnnealingLrScheduler, CosineAnnealingLrSchedulerConfig};
use burn::record::Recorder;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
use burn::train::{Learner, LearningComponentsMarker, SupervisedTraining};
use mac_burn::{Mac, MacConfig, Report};
use mac_burn_models::LeNetConfig;

use super::{AtomicRecorder, Classifier, Loaders, checkpoint};

/// Everything that decides the parameters at the end of a run, but for the images.
#[derive(Config, Debug)]
pub struct RunConfig {
    /// The network.
    pub network: LeNetConfig,
    /// The optimizer.
    #[config(default = "MacConfig::new()")]
    pub mac: MacConfig,
    /// Learning rate at the start; it falls to zero along a cosine.
    #[config(default = 0.1)]
    pub lr: f64,
    /// Passes over the training set.
    #[config(default = 10)]
    pub epochs: usize,
    /// Images in a batch.
    #[config(default = 64)]
    pub batch_size: usize,
    /// Seed of the initial parameters and of the order of the images.
    #[config(default = 0)]
    pub seed: u64,
}

/// A run of a [`RunConfig`], from its beginning or from one of its checkpoints.
pub struct Run<B: AutodiffBackend> {
    /// What is run.
    pub config: RunConfig,
    /// Where checkpoints, metrics and the log go.
    pub artifacts: PathBuf,
    /// The epoch after which a checkpoint is loaded, to go on with the next.
    pub resume: Option<usize>,
    /// The batches.
    pub loaders: Loaders<B>,
}

/// What burn-train puts together: backend, learning-rate schedule, network and optimizer.
pub type Components<B> =
    LearningComponentsMarker<B, CosineAnnealingLrScheduler, Classifier<B>, Mac<Classifier<B>, B>>;

impl RunConfig {
    /// The seed of the order of the images in an epoch: another for each epoch, and for each seed of a run.
    pub fn order_seed(&self, epoch: usize) -> u64 {
        self.seed.rotate_left(32) ^ epoch as u64
    }

    fn schedule(&self, items: usize) -> Result<CosineAnnealingLrScheduler, String> {
        let steps = self.epochs * items.div_ceil(self.batch_size);
        CosineAnnealingLrSchedulerConfig::new(self.lr, steps).init()
    }
}

impl<B: AutodiffBackend> Run<B> {
    /// The training, to be launched with the [learner](Self::learner).
    pub fn training(&self) -> SupervisedTraining<Components<B>> {
        let training = SupervisedTraining::new(
            &self.artifacts,
            self.loaders.train.clone(),
            self.loaders.valid.clone(),
        )
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .with_file_checkpointer(AtomicRecorder)
        .num_epochs(self.config.epochs);

        match self.resume {
            Some(epoch) => training.checkpoint(epoch),
            None => training,
        }
    }

    /// Network, optimizer and learning-rate schedule at the beginning of the run.
    ///
    /// If it is resumed, the training replaces what is in them by the checkpoint. That brings the curvature of the first
    /// layer along, so it is measured only at the beginning.
    ///
    /// # Errors
    /// If the configuration is not valid.
    pub fn learner(&self) -> Result<Learner<Components<B>>, Box<dyn Error>> {
        let model = Classifier::new(self.config.network.init(&Default::default()));
        let mut optimizer = self.config.mac.try_init()?;
        if self.resume.is_none() {
            optimizer = optimizer.with_input_covariance(&self.loaders.input_covariance(&model))?;
        }
        let schedule = self.config.schedule(self.loaders.train.num_items())?;
        Ok(Learner::new(model, optimizer, schedule))
    }

    /// The report of the optimizer after `epoch`. The learner does not hand its optimizer back, so it is made from the
    /// checkpoint.
    ///
    /// # Errors
    /// If there is no such checkpoint, or it is not one of this run.
    pub fn report(&self, model: &Classifier<B>, epoch: usize) -> Result<Report, Box<dyn Error>> {
        let file = checkpoint(&self.artifacts, "optim", epoch);
        let record = Recorder::<B>::load(&AtomicRecorder, file, &Default::default())?;
        let optimizer = self.config.mac.try_init()?.try_load_record(record, model)?;
        Ok(optimizer.report(model))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_epochs_of_two_runs_share_an_order() {
        let seeds: HashSet<u64> = (0..10)
            .flat_map(|seed| {
                let config = RunConfig::new(LeNetConfig::new([8, 8])).with_seed(seed);
                (0..10).map(move |epoch| config.order_seed(epoch))
            })
            .collect();

        assert_eq!(seeds.len(), 100);
    }
}
