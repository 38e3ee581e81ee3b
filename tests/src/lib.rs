//! The tools that the comparing tests have in common.

mod differences;
pub mod files;
mod process;

pub use differences::{Differences, Worst};
pub use process::{Answered, Asked, NoAnswer, Process, this_executable};
