//! Recorded attention, encoders and decoders, in `f64` and in half precision.

#[path = "../support/attention.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod attention;
#[path = "../formulas/dense_curvatures.rs"]
#[allow(dead_code, reason = "shared by tests")]
mod dense_curvatures;
#[path = "../support/rank_one.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod rank_one;
#[path = "../support/mod.rs"]
mod support;

mod cross_attention;
mod edges;
mod half_precision;
mod layers;
mod merging;
mod preconditioning;
mod statistics;
mod transformer;
mod transformer_preconditioning;
