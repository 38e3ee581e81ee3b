//! Trainings of one process do not see each other: several models made of one, several optimizers over one model.

#[path = "support/small.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared by tests")]
mod small;
mod support;

use burn::module::{Module, Param, ParamId};
use burn::optim::{GradientsParams, Optimizer};
use mac_burn::{Mac, MacConfig};
use small::{LR, Optim, Small, alone, assert_equal, batch, config, optimizer, train};
use support::B;

/// Breaks when what a training leaves in a recorder is in its clones, or in the clones of its original.
#[test]
fn trainings_after_each_other_from_clones_of_one_model() {
    let start = Small::<B>::new();
    for data in 0..3 {
        let trained = train(start.clone(), &mut optimizer(), data, 0..7);
        assert_equal(&trained, &alone(data, 7), &format!("training {data}"));
    }
}
