//! The optimizers.

use burn::config::Config;
use burn::optim::{AdamWConfig, SgdConfig};
use mac_burn::MacConfig;

/// The optimizer of a run.
#[derive(Config, Debug)]
pub(crate) enum OptimizerConfig {
    Mac(MacConfig),
    Sgd(SgdConfig),
    AdamW(AdamWConfig),
}
