//! The reasons that the report gives for parameters that are not recorded.

use super::{Method, R, support::random, trained};
use burn::module::{Module, Param};
use burn::nn::conv::{DeformConv2d, DeformConv2dConfig};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use mac_burn::UncoveredReason;

/// Parameters of all kinds.
#[derive(Module, Debug)]
struct Mixed<B: Backend> {
    covered: Linear<B>,
    norm: LayerNorm<B>,
    /// Multiplied element by element.
    scale: Param<Tensor<B, 2>>,
    /// Changed before it is used.
    normalized: Linear<B>,
    /// The weight of a product, and added.
    apart: Apart<B>,
    /// The factors of a weight.
    left: Param<Tensor<B, 2>>,
    right: Param<Tensor<B, 2>>,
    /// Of more axes than a weight has.
    queries: Param<Tensor<B, 3>>,
    /// A kernel whose axes are swapped before it is used.
    kernel: Param<Tensor<B, 4>>,
    unused: Linear<B>,
    deform: DeformConv2d<B>,
}

#[derive(Module, Debug)]
struct Apart<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
}

fn matrix<B: Backend>(shape: [usize; 2]) -> Param<Tensor<B, 2>> {
    Param::from_tensor(Tensor::zeros(shape, &Default::default()))
}

/// Breaks when a parameter is covered that no linear map has as its weight, or the reason is another's.
#[test]
fn each_parameter_that_is_left_has_its_reason() {
    let device = Default::default();
    let linear = || LinearConfig::new(4, 4).init::<R>(&device);
    let mixed = Mixed::<R> {
        covered: linear(),
        norm: LayerNormConfig::new(4).init(&device),
        scale: matrix([1, 4]),
        normalized: linear(),
        apart: Apart {
            weight: matrix([4, 4]),
            bias: Param::from_tensor(Tensor::zeros([4], &device)),
        },
        left: matrix([4, 2]),
        right: matrix([2, 4]),
        queries: Param::from_tensor(Tensor::zeros([1, 4, 4], &device)),
        kernel: Param::from_tensor(Tensor::zeros([1, 1, 1, 3], &device)),
        unused: linear(),
        deform: DeformConv2dConfig::new([1, 1], [2, 2]).init(&device),
    };
    let (_, report) = trained(mixed, Method::Mac, |mixed, step| {
        let x: Tensor<R, 2> = random([3, 4], step);
        let x = mixed.norm.forward(mixed.covered.forward(x)) * mixed.scale.val();
        let weight = mixed.normalized.weight.val();
        let norm = weight.clone().square().sum().sqrt();
        let x = x.matmul(weight / norm.unsqueeze());
        let x = x.matmul(mixed.apart.weight.val()) + mixed.apart.bias.val().unsqueeze();
        let x = x.matmul(mixed.left.val().matmul(mixed.right.val()));
        let x = x.unsqueeze::<3>().matmul(mixed.queries.val());
        let images = x.reshape([3, 1, 2, 2]);
        let kernel = mixed.kernel.val().swap_dims(2, 3);
        let options = ConvOptions::new([1, 1], [1, 0], [1, 1], 1);
        let images = conv2d(images, kernel, None, options);
        let offset = Tensor::zeros([3, 8, 1, 1], &Default::default());
        mixed.deform.forward(images, offset, None).square().mean()
    });
    let found: Vec<_> = report
        .uncovered
        .iter()
        .map(|found| (found.path.as_str(), &found.reason))
        .collect();
    let not_seen = &UncoveredReason::NotSeenAsWeight;
    let deform = &UncoveredReason::NoRecordedForm {
        layer: "DeformConv2d",
    };
    let expected = [
        ("norm.gamma", &UncoveredReason::Norm),
        ("norm.beta", &UncoveredReason::Norm),
        ("scale", not_seen),
        ("normalized.weight", not_seen),
        ("normalized.bias", not_seen),
        ("apart.bias", &UncoveredReason::BiasAddedApart),
        ("left", not_seen),
        ("right", not_seen),
        ("queries", not_seen),
        ("kernel", not_seen),
        ("unused.weight", not_seen),
        ("unused.bias", not_seen),
        ("deform.weight", deform),
        ("deform.bias", deform),
    ];
    assert_eq!(found, expected, "{report}");
    assert_eq!(report.covered_parameters, 4 * 4 + 4 + 4 * 4);
}
