//! The configuration of a run.

use mac_burn_vision::networks::NetworkConfig;
use mac_burn_vision::small_images::Augmentation;
use serde::Serialize;

use crate::dataset_choice::DatasetChoice;

/// What a run that continues must have in common with this one, besides the optimizer.
#[derive(Serialize)]
pub(crate) struct RunConfig {
    pub(crate) dataset: DatasetChoice,
    pub(crate) train_images: usize,
    pub(crate) augmentation: Augmentation,
    pub(crate) network: NetworkConfig,
}
