//! MAC inside burn-train's `Learner`, with checkpoints from which a run continues exactly.
//!
//! A resumed run ends with the parameters of one that was never interrupted, bit for bit, because nothing that decides
//! them is left out of a checkpoint or rounded:
//! - Burn checkpoints model, optimizer and learning-rate schedule; MAC's record holds its statistics and where it is
//!   between two recordings and two refreshes;
//! - [`AtomicRecorder`](mac_burn_examples::atomic_recorder::AtomicRecorder) stores them in full precision, and never half;
//! - [`EpochLoader`] makes the order of the images depend on seed and epoch alone, where Burn's shuffled loader goes on
//!   from the epochs that it has seen;
//! - an [`EpochBatcher`] that changes images at random does so by the seed of the epoch and the image alone, and by which
//!   of its repeats it is.

mod artifacts;
mod averaging_optimizer;
mod checkpoints;
mod classifier;
mod course;
mod differences;
mod diverged;
mod epoch_batcher;
mod epoch_loader;
mod loaders;
mod ordered_loader;
mod plain_renderer;
mod repeated;
mod run;
mod scheduled_lr;
mod soft_classifier;

pub use artifacts::Artifacts;
pub use averaging_optimizer::AveragingOptimizer;
pub use checkpoints::{checkpoint, whole_checkpoints};
pub use classifier::{Classifier, TrainableNetwork};
pub use course::Course;
pub use diverged::StopWhenDiverged;
pub use epoch_batcher::EpochBatcher;
pub use epoch_loader::EpochLoader;
pub use loaders::Loaders;
pub use ordered_loader::{BatchError, LoaderPlan, OrderedLoader};
pub use plain_renderer::PlainRenderer;
pub use repeated::Repeated;
pub use run::{Components, Run};
pub use scheduled_lr::ScheduledLr;
pub use soft_classifier::SoftClassifier;
