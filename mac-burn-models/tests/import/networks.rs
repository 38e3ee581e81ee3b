//! A small network of each family, and what goes into it. `tests/fixtures/weights` has weights of LeNet, DeiT, Swin and GPT.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn_models::convolution::StemKind;
use mac_burn_models::resnet::{BlockKind, ShortcutKind};
use mac_burn_models::{
    DenseNet, DenseNetConfig, Gpt, GptConfig, LeNet, LeNetConfig, ResNet, ResNetConfig, Swin,
    SwinConfig, SwinStageConfig, VisionTransformer, VisionTransformerConfig, WideResNet,
    WideResNetConfig,
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

pub(crate) fn deit<B: Backend>() -> VisionTransformer<B> {
    VisionTransformerConfig::new(8, 2)
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

/// With a projection in the second stage's shortcut.
pub(crate) fn resnet_of_basic_blocks<B: Backend>() -> ResNet<B> {
    ResNetConfig::new(vec![1, 2], BlockKind::Basic)
        .with_stem(StemKind::Small)
        .with_shortcut(ShortcutKind::Projection)
        .with_channels(4)
        .with_num_classes(3)
        .init(&Default::default())
}

pub(crate) fn resnet_of_bottlenecks<B: Backend>() -> ResNet<B> {
    ResNetConfig::new(vec![2, 1], BlockKind::Bottleneck)
        .with_channels(4)
        .with_num_classes(3)
        .init(&Default::default())
}

pub(crate) fn wide_resnet<B: Backend>() -> WideResNet<B> {
    WideResNetConfig::new(10, 1)
        .with_num_classes(3)
        .init(&Default::default())
}

/// As timm has it, with a norm in the stem.
pub(crate) fn densenet<B: Backend>() -> DenseNet<B> {
    DenseNetConfig::new(4, vec![2, 3])
        .with_num_classes(3)
        .init(&Default::default())
}

/// As the authors have it, with a stem that is a convolution alone.
pub(crate) fn densenet_for_small_images<B: Backend>() -> DenseNet<B> {
    DenseNetConfig::new(4, vec![2, 3])
        .with_stem(StemKind::Bare)
        .with_num_classes(3)
        .init(&Default::default())
}

/// Images of the sine of each index.
pub(crate) fn images(shape: [usize; 4]) -> Tensor<Single, 4> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|index| (index as f64).sin() as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// Tokens that count, up to 10 and from 0 again.
pub(crate) fn tokens() -> Tensor<Single, 2, Int> {
    let tokens: Vec<i64> = (0..16).map(|index| index % 11).collect();
    Tensor::from_data(TensorData::new(tokens, [2, 8]), &Default::default())
}
