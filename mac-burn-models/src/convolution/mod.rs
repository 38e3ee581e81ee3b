//! Parts that more than one convolutional network is made of.
//!
//! The norms are Burn's. In training they normalize by the statistics of the batch, and elsewhere by running averages of
//! these, with one difference from PyTorch: Burn averages the variance of a batch, and PyTorch its unbiased estimate,
//! `n/(n − 1)` times as much for `n` values of a channel, batch × height × width of them. In the recipes of the MAC paper
//! `n` is least for 4×4 maps, the last of ResNet-34, ResNet-50 and DenseNet-121 on CIFAR: 2048 for a batch of 128, and 1280
//! for the 80 images that are left at the end of an epoch, a tenth of the average after it. So running variances are 0.05 %
//! smaller and outputs in evaluation 0.025 % larger, while the average itself varies by 0.7 % from batch to batch even if the
//! values are independent (a variance of `n` normal values by `√(2/n)`, an average with a momentum of 0.1 by `√(0.1/1.9)` of
//! that). A ResNet-20 that is trained on digits, where the least `n` is 512, has as many images right with either form, and no
//! probability differs by more than 0.005 (`cargo test --workspace --test running_variance -- --nocapture`). Burn's norm serves.
//! Training does not read the running statistics and is PyTorch's.

mod blocks;
mod layers;

pub use blocks::{ConvNorm, NormConv, Stem, StemKind};

pub(crate) use layers::{
    NORMAL_BY_FAN_IN, NORMAL_BY_FAN_OUT, SquareConv, UNIFORM_BY_FAN_IN, linear, mean_over_positions,
};
