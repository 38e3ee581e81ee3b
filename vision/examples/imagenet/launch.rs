//! A run whose optimizer is made.

use std::error::Error;
use std::path::PathBuf;

use burn::module::{AutodiffModule, Module};
use burn::optim::Optimizer;
use burn::record::Recorder;
use burn::tensor::ElementConversion;
use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
use burn::train::renderer::MetricsRenderer;
use burn::train::{InferenceStep, Interrupter, Learner, SupervisedTraining};
use mac_burn_examples::accuracy::correct;
use mac_burn_examples::atomic_recorder::AtomicRecorder;
use mac_burn_examples::backend::{Selected, Training};
use mac_burn_examples::training::WithOptimizer;
use mac_burn_vision::learner::{
    AveragingOptimizer, ScheduledLr, SoftClassifier, StopWhenDiverged, checkpoint,
};

use crate::image_loaders::ImageLoaders;
use crate::run_config::RunConfig;
use mac_burn_vision::networks::Network;

/// The network that trains.
pub(crate) type Model = SoftClassifier<Training, Network<Training>>;

/// The network without gradients.
pub(crate) type Validated = SoftClassifier<Selected, Network<Selected>>;

/// The file of the average of the parameters, among the artifacts.
pub(crate) const EMA_FILE: &str = "ema";

/// A run, from its beginning or from one of its checkpoints.
pub(crate) struct Launch<'a, R> {
    pub(crate) config: &'a RunConfig,
    pub(crate) loaders: &'a ImageLoaders<Training>,
    pub(crate) interrupter: Interrupter,
    pub(crate) artifacts: PathBuf,
    /// The epoch after which a checkpoint is loaded.
    pub(crate) resume: Option<usize>,
    pub(crate) model: Model,
    /// The renderer of metrics; none for burn-train's dashboard.
    pub(crate) renderer: Option<R>,
}

impl<R: MetricsRenderer + 'static> WithOptimizer<Training, Model> for Launch<'_, R> {
    fn run<O>(mut self, optimizer: O) -> Result<(Model, O), Box<dyn Error>>
    where
        O: Optimizer<Model, Training> + 'static,
    {
        let average = self.config.average(self.model.valid());
        let optimizer = AveragingOptimizer::new(optimizer, average);
        let model = self.train(optimizer.clone())?;

        // The learner does not hand its optimizer back.
        let file = checkpoint(&self.artifacts, "optim", self.config.epochs());
        let record = Recorder::<Training>::load(&AtomicRecorder, file, &Default::default())?;
        let optimizer = optimizer.load_record(record);
        if let Some(average) = optimizer.average() {
            self.finish(average)?;
        }
        Ok((model, optimizer.into_inner()))
    }
}

impl<R: MetricsRenderer + 'static> Launch<'_, R> {
    fn train<O>(&mut self, optimizer: O) -> Result<Model, Box<dyn Error>>
    where
        O: Optimizer<Model, Training> + 'static,
    {
        let schedule = ScheduledLr::new(self.config.schedule());
        let mut training = SupervisedTraining::new(
            &self.artifacts,
            self.loaders.train.clone(),
            self.loaders.valid.clone(),
        )
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .with_file_checkpointer(AtomicRecorder)
        .with_interrupter(self.interrupter.clone())
        .early_stopping(StopWhenDiverged(self.interrupter.clone()))
        .num_epochs(self.config.epochs())
        .summary();
        if let Some(epoch) = self.resume {
            training = training.checkpoint(epoch);
        }
        if let Some(renderer) = self.renderer.take() {
            training = training.renderer(renderer);
        }
        let result = training.launch(Learner::new(self.model.clone(), optimizer, schedule));
        // Ends the dashboard: what is printed before is printed on its screen, and is gone with it.
        drop(result.renderer);
        self.uninterrupted()?;
        Ok(Model::from_inner(result.model))
    }

    /// Validates and stores the average of the parameters.
    fn finish(&self, average: &Validated) -> Result<(), Box<dyn Error>> {
        let record = average.clone().into_record();
        let file = self.artifacts.join(EMA_FILE);
        Recorder::<Selected>::record(&AtomicRecorder, record, file)?;
        let (mut loss, mut right, mut images) = (0.0, 0, 0);
        for batch in self.loaders.valid.iter() {
            let targets = batch.targets.clone();
            let [count] = targets.dims();
            let output = average.step(batch);
            loss += output.loss.into_scalar().elem::<f64>() * count as f64;
            right += correct(output.output, targets).into_scalar().elem::<i64>();
            images += count;
        }
        self.uninterrupted()?;
        println!(
            "average of the parameters: validation accuracy {:.2} %, loss {:.4}; stored in {}.mpk",
            100.0 * right as f64 / images as f64,
            loss / images as f64,
            self.artifacts.join(EMA_FILE).display()
        );
        Ok(())
    }

    /// Burn stops a training whose checkpoint cannot be written, and the loaders one whose images cannot be read, as one
    /// that is stopped by its user, without an error.
    fn uninterrupted(&self) -> Result<(), Box<dyn Error>> {
        match self.interrupter.get_message() {
            Some(reason) => Err(format!("training ended early: {reason}").into()),
            None => Ok(()),
        }
    }
}
