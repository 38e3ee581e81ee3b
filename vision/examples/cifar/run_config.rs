//! The configuration of a run.

use burn::config::Config;
use mac_burn_vision::learner::Course;
use mac_burn_vision::small_images::Augmentation;

use crate::dataset_choice::DatasetChoice;
use crate::optimizer_config::OptimizerConfig;
use mac_burn_vision::networks::NetworkConfig;

/// Everything that decides the parameters at the end of a run, but for the images themselves.
#[derive(Config, Debug)]
pub(crate) struct RunConfig {
    pub(crate) dataset: DatasetChoice,
    pub(crate) train_images: usize,
    pub(crate) augmentation: Augmentation,
    pub(crate) network: NetworkConfig,
    pub(crate) optimizer: OptimizerConfig,
    /// Whether MAC measures the covariance of the first layer's inputs.
    pub(crate) input_covariance: bool,
    pub(crate) course: Course,
}
