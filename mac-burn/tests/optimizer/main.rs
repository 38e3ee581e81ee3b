//! Recorded layers and the steps of the optimizer, in `f32`.
//!
//! Tests of things that a process has one of, such as a logger or a count of operations, are beside this folder.

#[path = "../support/auxiliary_optimizer.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod auxiliary_optimizer;
#[path = "../support/small.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod small;
#[path = "../support/mod.rs"]
mod support;

mod auxiliary;
mod auxiliary_record;
mod clipping;
mod curvatures;
mod guard;
mod half_precision;
mod independence;
mod records;
mod report;
mod resume;
mod step_forms;
mod transparency;
mod uncovered;
mod unrecorded;
