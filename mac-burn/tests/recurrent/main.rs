//! Recorded recurrent layers and SwiGLU against Burn's own and against the same cells written out, in `f64`.

#[path = "../formulas/dense_curvatures.rs"]
#[allow(dead_code, reason = "shared by tests")]
mod dense_curvatures;
#[path = "../support/mod.rs"]
mod support;

mod curvatures;
mod layers;
mod resume;
mod signals;
mod spectrum;
mod transparency;
mod unrolled;
