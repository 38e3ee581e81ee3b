//! Statistics of what layers saw: recorders, their sums, and when they record.

mod activation_sums;
mod attention_sums;
mod backward_hook;
pub(crate) mod collector;
mod layer_statistics;
pub(crate) mod moments;
mod output_gradients;
mod pass;
mod passes;
pub(crate) mod patches;
mod recorder;
mod schedule;
pub(crate) mod second_moments;
mod shared_input;
mod step_outputs;
mod transposed;

pub(crate) use activation_sums::{ActivationSums, Rows, untracked};
pub use attention_sums::AttendedValues;
pub(crate) use backward_hook::enable as enable_backward_hook;
pub use layer_statistics::WeightSharing;
pub(crate) use layer_statistics::{Demand, LayerStatistics, Part, Statistic, Sums};
pub(crate) use patches::volumes;
pub use recorder::Recorder;
pub(crate) use schedule::Schedule;
pub use schedule::without_recording;
pub(crate) use shared_input::SharedInput;
pub(crate) use step_outputs::{MapPass, StepOutputs};
