//! Training loops of the transformer examples and of the benchmark that compares optimizers on them.
//!
//! A [`Task`] is what is learnt; a [`Session`] is a run of an optimizer on it, which can be stored and continued at
//! any step; [`OptimizerArgs`] are the optimizers as a command line describes them, [`OptimizerPlan`] those with
//! all settings.

mod any_optimizer;
mod batches;
mod curve;
mod diverged;
mod exempting_optimizer;
mod exemption;
mod monitor;
mod optimizer_args;
mod optimizer_plan;
mod progress;
mod run;
mod schedule;
mod session;
mod stream;
mod task;

pub use any_optimizer::WithOptimizer;
pub use batches::Batches;
pub use curve::{Curve, CurveArgs, CurveError, CurvePoint};
pub use diverged::Diverged;
pub use exempting_optimizer::ExemptingOptimizer;
pub use exemption::Exemption;
pub use monitor::{Monitor, train};
pub use optimizer_args::{LearningRates, OptimizerArgs};
pub use optimizer_plan::OptimizerPlan;
pub use progress::Progress;
pub use run::{Run, RunArgs};
pub use schedule::Schedule;
pub use session::{Session, SessionError};
pub use stream::stream;
pub use task::{Inner, Task};
