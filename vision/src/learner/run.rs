//! A training run.

use std::error::Error;
use std::path::PathBuf;

use burn::lr_scheduler::cosine::CosineAnnealingLrScheduler;
use burn::module::AutodiffModule;
use burn::optim::Optimizer;
use burn::record::Recorder;
use burn::tensor::backend::AutodiffBackend;
use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
use burn::train::renderer::MetricsRenderer;
use burn::train::{Learner, LearningComponentsMarker, SupervisedTraining};
use mac_burn::{Mac, MacConfig, MacError, Report};
use mac_burn_examples::atomic_recorder::AtomicRecorder;

use super::{Classifier, Course, Loaders, StopWhenDiverged, TrainableNetwork, checkpoint};

/// A run, from its beginning or from one of its checkpoints.
pub struct Run<B: AutodiffBackend> {
    /// How long it is, and at which learning rate.
    pub course: Course,
    /// Where checkpoints, metrics and the log go.
    pub artifacts: PathBuf,
    /// The epoch after which a checkpoint is loaded, to go on with the next.
    pub resume: Option<usize>,
    /// The batches.
    pub loaders: Loaders<B>,
}

/// The components of burn-train's learner: backend, learning-rate schedule, network and optimizer.
pub type Components<B, N, O> =
    LearningComponentsMarker<B, CosineAnnealingLrScheduler, Classifier<B, N>, O>;

impl<B: AutodiffBackend> Run<B> {
    /// The number of epochs.
    pub fn epochs(&self) -> usize {
        self.course.number_of_epochs(self.loaders.train_images)
    }

    /// The training, to be launched with the [learner](Self::learner).
    pub fn training<N, O>(&self) -> SupervisedTraining<Components<B, N, O>>
    where
        N: TrainableNetwork<B>,
        O: Optimizer<Classifier<B, N>, B> + 'static,
    {
        let training = SupervisedTraining::new(
            &self.artifacts,
            self.loaders.train.clone(),
            self.loaders.valid.clone(),
        )
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .with_file_checkpointer(AtomicRecorder)
        .num_epochs(self.epochs());

        let diverged = StopWhenDiverged(training.interrupter());
        let training = training.early_stopping(diverged);
        match self.resume {
            Some(epoch) => training.checkpoint(epoch),
            None => training,
        }
    }

    /// Network, optimizer and learning-rate schedule at the beginning of the run. If it is resumed, the training
    /// replaces what is in them by the checkpoint.
    ///
    /// # Errors
    /// If the course is not valid.
    pub fn learner<N, O>(
        &self,
        model: Classifier<B, N>,
        optimizer: O,
    ) -> Result<Learner<Components<B, N, O>>, String>
    where
        N: TrainableNetwork<B>,
        O: Optimizer<Classifier<B, N>, B> + 'static,
    {
        let schedule = self.course.schedule(self.loaders.train_images)?;
        Ok(Learner::new(model, optimizer, schedule))
    }

    /// MAC that knows the curvature of the first layer of `model`. A checkpoint brings it along, so it is measured only
    /// at the beginning of a run.
    ///
    /// # Errors
    /// If the configuration is not valid, or the covariance cannot be inverted.
    pub fn mac<N: TrainableNetwork<B>>(
        &self,
        config: &MacConfig,
        model: &Classifier<B, N>,
    ) -> Result<Mac<Classifier<B, N>, B>, MacError> {
        let mac = config.try_init()?;
        match self.resume {
            Some(_) => Ok(mac),
            None => mac.with_input_covariance(&self.loaders.input_covariance(model)),
        }
    }

    /// Trains, and returns the network. Metrics go to `renderer`; without one burn-train shows its dashboard, which
    /// needs a terminal.
    ///
    /// # Errors
    /// If the course is not valid, or the training ends early, as when a checkpoint cannot be written.
    pub fn train<N, O, R>(
        &self,
        model: Classifier<B, N>,
        optimizer: O,
        renderer: Option<R>,
    ) -> Result<Classifier<B, N>, Box<dyn Error>>
    where
        N: TrainableNetwork<B>,
        O: Optimizer<Classifier<B, N>, B> + 'static,
        R: MetricsRenderer + 'static,
    {
        let learner = self.learner(model, optimizer)?;
        let mut training = self.training().summary();
        if let Some(renderer) = renderer {
            training = training.renderer(renderer);
        }
        let interrupter = training.interrupter();
        let result = training.launch(learner);
        // Ends the dashboard: what is printed before is printed on its screen, and is gone with it.
        drop(result.renderer);

        // Burn stops a training whose checkpoint cannot be written, as one that is stopped by its user, without an error.
        match interrupter.get_message() {
            Some(reason) => Err(format!("training ended early: {reason}").into()),
            None => Ok(Classifier::from_inner(result.model)),
        }
    }

    /// The report of MAC after `epoch`. The learner does not hand its optimizer back, so it is made from the checkpoint.
    ///
    /// # Errors
    /// If there is no such checkpoint, or it is not one of this run.
    pub fn report<N: TrainableNetwork<B>>(
        &self,
        config: &MacConfig,
        model: &Classifier<B, N>,
        epoch: usize,
    ) -> Result<Report, Box<dyn Error>> {
        let file = checkpoint(&self.artifacts, "optim", epoch);
        let record = Recorder::<B>::load(&AtomicRecorder, file, &Default::default())?;
        let optimizer = config.try_init()?.try_load_record(record, model)?;
        Ok(optimizer.report(model))
    }
}
