//! The optimizers that the programs compare.
//!
//! An [`OptimizerChoice`] is one by its name, [`OptimizerArgs`] are its settings as a command line describes them, an
//! [`OptimizerPlan`] has all of them and trains. MAC, and what has another curvature, is [`Mac`](mac_burn::Mac); all
//! others are a [`GroupedOptimizer`].

mod args;
mod choice;
mod grouped;
mod plan;
mod rule;

pub use args::{LearningRates, OptimizerArgs, OptimizerDefaults, mac_for_short_runs};
pub use choice::{LayerCurvature, LayerStep, OptimizerChoice};
pub use grouped::GroupedOptimizer;
pub use plan::{OptimizerPlan, WithOptimizer};
pub use rule::{Rule, RuleState};
