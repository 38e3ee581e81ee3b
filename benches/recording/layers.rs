//! Two layers of a kind after each other, and what they make of a batch: one number for each sample and output.

use burn::nn::LstmConfig;
use burn::nn::conv::{Conv1d, Conv1dConfig, Conv3d, Conv3dConfig};
use burn::nn::{Lstm, PaddingConfig1d, PaddingConfig3d};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv1d, MacConv3d, MacLstm};

/// Two recorded layers.
pub(crate) type Pair<L> = (L, L);

/// `[batch, 32, length]` to `[batch, 64]`.
pub(crate) fn conv1d<B: Backend>(device: &B::Device) -> Pair<MacConv1d<B>> {
    let layer = |inputs| {
        let config = Conv1dConfig::new(inputs, 64, 5).with_padding(PaddingConfig1d::Same);
        config.init(device).into()
    };
    (layer(32), layer(64))
}

pub(crate) fn conv1d_forward<B: Backend>(
    (first, second): &Pair<MacConv1d<B>>,
    input: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let x = second.forward(relu(first.forward(input)));
    x.mean_dim(2).flatten(1, 2)
}

pub(crate) fn plain_conv1d_forward<B: Backend>(
    (first, second): &Pair<Conv1d<B>>,
    input: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let x = second.forward(relu(first.forward(input)));
    x.mean_dim(2).flatten(1, 2)
}

/// `[batch, 4, depth, height, width]` to `[batch, 16]`.
pub(crate) fn conv3d<B: Backend>(device: &B::Device) -> Pair<MacConv3d<B>> {
    let layer = |inputs| {
        let config = Conv3dConfig::new([inputs, 16], [3; 3]).with_padding(PaddingConfig3d::Same);
        config.init(device).into()
    };
    (layer(4), layer(16))
}

pub(crate) fn conv3d_forward<B: Backend>(
    (first, second): &Pair<MacConv3d<B>>,
    input: Tensor<B, 5>,
) -> Tensor<B, 2> {
    let x: Tensor<B, 3> = second.forward(relu(first.forward(input))).flatten(2, 4);
    x.mean_dim(2).flatten(1, 2)
}

pub(crate) fn plain_conv3d_forward<B: Backend>(
    (first, second): &Pair<Conv3d<B>>,
    input: Tensor<B, 5>,
) -> Tensor<B, 2> {
    let x: Tensor<B, 3> = second.forward(relu(first.forward(input))).flatten(2, 4);
    x.mean_dim(2).flatten(1, 2)
}

/// `[batch, steps, 64]` to `[batch, 128]`.
pub(crate) fn lstm<B: Backend>(device: &B::Device) -> Pair<MacLstm<B>> {
    let layer = |inputs| LstmConfig::new(inputs, 128, true).init(device).into();
    (layer(64), layer(128))
}

pub(crate) fn lstm_forward<B: Backend>(
    (first, second): &Pair<MacLstm<B>>,
    input: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let (x, _) = first.forward(input, None);
    second.forward(x, None).1.hidden
}

pub(crate) fn plain_lstm_forward<B: Backend>(
    (first, second): &Pair<Lstm<B>>,
    input: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let (x, _) = first.forward(input, None);
    second.forward(x, None).1.hidden
}
