//! The training loop of the programs and of the benchmark that compares optimizers.
//!
//! A [`Task`] is what is learnt; a [`Session`] is a run of an optimizer on it, which can be stored and continued at
//! any step; a [`Run`] is a session with checkpoints, progress and files of its losses.
//!
//! A resumed run ends with the parameters of one that was never interrupted, bit for bit, because nothing that decides them is
//! left out of a checkpoint or rounded: network, optimizer with MAC's statistics and where it is between two recordings and two
//! refreshes, average and step are stored in full precision, and the batch and the learning rate of a step depend on its number
//! and the seed alone.

mod batches;
mod curve;
mod differences;
mod diverged;
mod heartbeat;
mod parameter_average;
mod progress;
mod run;
mod schedule;
mod session;
mod task;

pub use batches::{Batches, stream};
pub use curve::{Curve, CurveArgs, CurveError};
pub use diverged::Diverged;
pub use parameter_average::ParameterAverage;
pub use progress::Progress;
pub use run::{Course, Outcome, Run, RunArgs, Trained};
pub use schedule::Schedule;
pub use session::{Session, SessionError};
pub use task::{Inner, Task, Validation};
