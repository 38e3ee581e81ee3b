//! Data-parallel training in replicas: they take the same steps as one training with the whole batch, bit for bit among each other, and end in
//! time with the rank that is to blame if one is lost or differs.
#![allow(
    clippy::print_stdout,
    reason = "figures that are compared must be seen"
)]

#[path = "../support/mod.rs"]
mod support;

mod batch;
mod curvatures;
mod handshake;
mod layers;
mod network;
mod own_recorders;
mod processes;
mod silence;
