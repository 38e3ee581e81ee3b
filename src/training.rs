//! Training loops of the transformer examples and of the benchmark that compares optimizers on them.
//!
//! A [`Task`] is what is learnt; a [`Session`] is a run of an optimizer on it, which can be stored and continued at
//! any step; [`OptimizerArgs`] are the optimizers as a command line describes them, [`OptimizerPlan`] those with
//! all settings.

mod batches;
mod curve;
mod diverged;
mod exempting_optimizer;
mod exemption;
mod monitor;
mod optimizer_args;
mod optimizer_plan;
mod run;
mod schedule;
mod session;
mod task;

pub use batches::{Batches, stream};
pub use curve::{Curve, CurveArgs, CurveError, CurvePoint};
pub use diverged::Diverged;
pub use exempting_optimizer::ExemptingOptimizer;
pub use exemption::Exemption;
pub use monitor::{Monitor, Progress, train};
pub use optimizer_args::{LearningRates, OptimizerArgs};
pub use optimizer_plan::{OptimizerPlan, WithOptimizer};
pub use run::{Run, RunArgs};
pub use schedule::Schedule;
pub use session::{Session, SessionError};
pub use task::{Inner, Task};
