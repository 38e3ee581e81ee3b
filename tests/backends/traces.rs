//! The replay of traces as the test of that name has it, of which this test needs a part.
#![allow(dead_code, reason = "the rest is for the test of that name")]

#[path = "../traces/case.rs"]
pub(crate) mod case;
#[path = "../traces/comparison.rs"]
pub(crate) mod comparison;
#[path = "../traces/layer.rs"]
pub(crate) mod layer;
#[path = "../traces/layer_spec.rs"]
pub(crate) mod layer_spec;
#[path = "../traces/network.rs"]
pub(crate) mod network;
#[path = "../traces/optimizer.rs"]
pub(crate) mod optimizer;
#[path = "../traces/replay.rs"]
pub(crate) mod replay;
#[path = "../traces/update_rule.rs"]
pub(crate) mod update_rule;
#[path = "../traces/vision_transformer.rs"]
pub(crate) mod vision_transformer;
