//! A small network of each family: those whose weights `tests/fixtures/weights` has.

use burn::tensor::backend::Backend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn_models::{
    Deit, DeitConfig, Gpt, GptConfig, LeNet, LeNetConfig, Swin, SwinConfig, SwinStageConfig,
};

/// The backend of single precision.
pub(crate) type Single = Flex;

/// The backend of double precision, of another kind of device: Burn has one default float type for each.
pub(crate) type Double = NdArray<f64>;

pub(crate) fn lenet<B: Backend>() -> LeNet<B> {
    LeNetConfig::mac_lenet5()
        .with_image_size([16, 16])
        .with_image_channels(1)
        .with_channels([2, 3])
        .with_hidden([6, 5])
        .with_num_classes(4)
        .init(&Default::default())
}

pub(crate) fn deit<B: Backend>() -> Deit<B> {
    DeitConfig::new(8, 2)
        .with_image_size([8, 8])
        .with_patch_size(4)
        .with_n_layers(2)
        .with_num_classes(3)
        .init(&Default::default())
}

pub(crate) fn swin<B: Backend>() -> Swin<B> {
    let stages = vec![
        SwinStageConfig::new(8, 2, 1),
        SwinStageConfig::new(16, 1, 2),
    ];
    SwinConfig::new(stages)
        .with_image_size([16, 16])
        .with_patch_size([2, 2])
        .with_window_size([4, 4])
        .with_num_classes(3)
        .init(&Default::default())
}

pub(crate) fn gpt<B: Backend>() -> Gpt<B> {
    GptConfig::new(11)
        .with_context_size(8)
        .with_n_layers(2)
        .with_n_heads(2)
        .with_d_model(8)
        .init(&Default::default())
}
