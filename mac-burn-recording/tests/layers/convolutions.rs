//! Convolutions over one to three axes, transposed or not.

use super::{A, A64, METHODS, R, R64, assert_trained_alike, support::random, trained};
use burn::nn::conv::{
    Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose1d,
    ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, ConvTranspose3d,
    ConvTranspose3dConfig,
};
use burn::nn::{PaddingConfig1d, PaddingConfig2d};
use burn::tensor::Tensor;
use mac_burn::{
    MacConv1d, MacConv2d, MacConv3d, MacConvTranspose1d, MacConvTranspose2d, MacConvTranspose3d,
};

/// Trains a layer on both backends, with each optimizer.
macro_rules! check {
    ($layer:ident, $recorded:ident, $rank:literal, $config:expr, $shape:expr $(, $of_recorded:ty, $of_plain:ty, $tolerance:expr)?) => {
        check!(@ $layer, $recorded, $rank, $config, $shape, [$($of_recorded, $of_plain, $tolerance)?])
    };
    (@ $layer:ident, $recorded:ident, $rank:literal, $config:expr, $shape:expr, []) => {
        check!(@ $layer, $recorded, $rank, $config, $shape, [A, R, 0.0])
    };
    (@ $layer:ident, $recorded:ident, $rank:literal, $config:expr, $shape:expr, [$of_recorded:ty, $of_plain:ty, $tolerance:expr]) => {
        for method in METHODS {
            let recorded: $recorded<$of_recorded> = $config.init(&Default::default()).into();
            let plain: $layer<$of_plain> = $config.init(&Default::default());
            let recorded = trained(recorded, method, |layer, step| {
                let input: Tensor<$of_recorded, $rank> = random($shape, 50 + step);
                layer.forward(input).square().mean()
            });
            let plain = trained(plain, method, |layer, step| {
                let input: Tensor<$of_plain, $rank> = random($shape, 50 + step);
                layer.forward(input).square().mean()
            });
            let what = format!("{} with {method:?}", stringify!($layer));
            assert_trained_alike(&what, $tolerance, recorded, plain);
        }
    };
}

/// Breaks when an option of a convolution is lost on the way to its recorder, or one over fewer axes is taken for another.
#[test]
fn convolutions_are_recorded() {
    let config = Conv1dConfig::new(4, 6, 3).with_stride(2).with_groups(2);
    check!(Conv1d, MacConv1d, 3, config, [3, 4, 9]);
    let config = Conv2dConfig::new([2, 3], [3, 2])
        .with_stride([2, 1])
        .with_dilation([1, 2])
        .with_padding(PaddingConfig2d::Explicit(1, 2, 1, 2));
    check!(Conv2d, MacConv2d, 4, config, [3, 2, 6, 5]);
    let config = Conv2dConfig::new([4, 4], [2, 2])
        .with_groups(4)
        .with_bias(false);
    check!(Conv2d, MacConv2d, 4, config, [3, 4, 5, 4]);
    let config = Conv3dConfig::new([2, 3], [2, 1, 2]).with_stride([1, 2, 1]);
    check!(Conv3d, MacConv3d, 5, config, [2, 2, 3, 4, 3]);
}

/// Breaks when images that Burn pads before the operation, where the sides differ, are recorded without their padding. They are summed in
/// another order then.
#[test]
fn convolutions_with_asymmetric_padding_are_recorded() {
    let config = Conv1dConfig::new(2, 3, 4).with_padding(PaddingConfig1d::Explicit(1, 2));
    check!(Conv1d, MacConv1d, 3, config, [3, 2, 9], A64, R64, 1e-12);
    let config = Conv2dConfig::new([2, 3], [2, 4]).with_padding(PaddingConfig2d::Same);
    check!(Conv2d, MacConv2d, 4, config, [3, 2, 6, 5], A64, R64, 1e-12);
}

/// Breaks when a transposed convolution is taken for one that is not, or its bias for a part of it.
#[test]
fn transposed_convolutions_are_recorded() {
    let config = ConvTranspose1dConfig::new([4, 6], 3)
        .with_stride(2)
        .with_groups(2);
    check!(ConvTranspose1d, MacConvTranspose1d, 3, config, [3, 4, 5]);
    let config = ConvTranspose2dConfig::new([2, 3], [3, 2])
        .with_stride([2, 1])
        .with_padding([1, 0])
        .with_padding_out([1, 0]);
    check!(ConvTranspose2d, MacConvTranspose2d, 4, config, [3, 2, 4, 3]);
    let config = ConvTranspose3dConfig::new([2, 3], [2, 1, 2]);
    check!(
        ConvTranspose3d,
        MacConvTranspose3d,
        5,
        config,
        [2, 2, 2, 3, 2]
    );
}
