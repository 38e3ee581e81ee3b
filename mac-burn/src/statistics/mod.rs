//! Statistics of what layers saw: recorders, their sums, and when they record.

mod activation_sums;
mod attention_sums;
mod backward_hook;
pub(crate) mod collector;
pub(crate) mod moments;
mod passes;
pub(crate) mod patches;
mod recorder;
mod schedule;

pub(crate) use activation_sums::{ActivationSums, Rows, untracked};
pub use attention_sums::AttendedValues;
pub(crate) use backward_hook::enable as enable_backward_hook;
pub use recorder::Recorder;
pub(crate) use recorder::Wants;
pub(crate) use schedule::Schedule;
pub use schedule::without_recording;
