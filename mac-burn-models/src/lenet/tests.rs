//! The network against the same one of plain layers.

use std::ops::RangeInclusive;

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};

use super::*;
use crate::testing::{TestBackend, std, through_a_file};

/// The same network of plain layers.
#[derive(Module, Debug)]
struct PlainLeNet<B: Backend> {
    conv1: Conv2d<B>,
    conv2: Conv2d<B>,
    pool: MaxPool2d,
    fc1: Linear<B>,
    fc2: Linear<B>,
    head: Linear<B>,
}

impl<B: Backend> PlainLeNet<B> {
    fn init(config: &LeNetConfig, device: &B::Device) -> Self {
        let [channels1, channels2] = config.channels;
        let [hidden1, hidden2] = config.hidden;
        let flat = channels2
            * config
                .image_size
                .map(|size| size / 4)
                .iter()
                .product::<usize>();
        Self {
            conv1: config
                .convolution([config.image_channels, channels1])
                .init(device),
            conv2: config.convolution([channels1, channels2]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: LinearConfig::new(flat, hidden1).init(device),
            fc2: LinearConfig::new(hidden1, hidden2).init(device),
            head: LinearConfig::new(hidden2, config.num_classes).init(device),
        }
    }

    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.pool.forward(relu(self.conv1.forward(images)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        let x = relu(self.fc2.forward(x));
        self.head.forward(x)
    }
}

#[test]
fn the_constructors_have_the_documented_numbers_of_parameters() {
    let parameters =
        |config: LeNetConfig| config.init::<TestBackend>(&Default::default()).num_params();

    assert_eq!(parameters(LeNetConfig::new([8, 8])), 31_294);
    assert_eq!(parameters(LeNetConfig::new([28, 28])), 204_094);
    assert_eq!(parameters(LeNetConfig::lenet5()), 61_706);
    assert_eq!(parameters(LeNetConfig::mac_lenet5()), 62_006);
}

/// Breaks when the size that is left of an image is not what the convolutions and poolings leave.
#[test]
fn images_of_any_size_are_taken_with_and_without_padding() {
    for padded in [true, false] {
        for size in [[16, 17], [18, 19], [21, 20]] {
            let config = LeNetConfig::lenet5()
                .with_padded(padded)
                .with_image_size(size);
            let network = config.init::<TestBackend>(&Default::default());
            let images = Tensor::zeros([2, 1, size[0], size[1]], &Default::default());
            assert_eq!(network.forward(images).dims(), [2, 10]);
        }
    }
}

#[test]
fn a_record_of_plain_layers_gives_the_same_logits_bit_for_bit() {
    let device = Default::default();
    let config = LeNetConfig::new([12, 10])
        .with_image_channels(3)
        .with_num_classes(7)
        .with_kernel_size(5);
    let plain = PlainLeNet::<TestBackend>::init(&config, &device);
    let images = Tensor::random([2, 3, 12, 10], Distribution::Default, &device);
    let expected = plain.forward(images.clone());

    let recorded: LeNet<TestBackend> = through_a_file(plain, config.init(&device));
    let logits = recorded.forward(images.clone());

    assert_eq!(logits.dims(), [2, 7]);
    let expected = expected.into_data();
    assert_eq!(logits.into_data(), expected);
    let back = through_a_file(recorded, PlainLeNet::init(&config, &device));
    assert_eq!(back.forward(images).into_data(), expected);
}

/// The largest of 256 uniform values is below 94 % of their bound once in 7 million draws. Above the bound is only rounding;
/// of normal values with the same standard deviation, 8 % are.
const OF_BOUND: RangeInclusive<f64> = 0.94..=1.000_001;

/// Of 256 uniform values, the standard deviation is within 4.5/√(5 · 256) = 12.6 % of the true one. Of values at the ends of
/// the interval it is 73 % larger, and of normal ones that end there, at three standard deviations, 42 % less.
const OF_SPREAD: f64 = 0.126;

/// Asserts that values, 256 or more, are uniform in ±1/√fan-in.
fn assert_uniform<const D: usize>(values: &Param<Tensor<TestBackend, D>>, fan_in: usize) {
    let values = values.val();
    let bound = (fan_in as f64).sqrt().recip();
    let largest: f32 = values.clone().abs().max().into_scalar();
    let largest = f64::from(largest) / bound;
    assert!(OF_BOUND.contains(&largest), "{largest} of {bound}");

    let mean: f32 = values.clone().mean().into_scalar();
    let spread = std(values.sub_scalar(mean)) / bound * 3.0_f64.sqrt();
    assert!((spread - 1.0).abs() < OF_SPREAD, "{spread} of {bound}");
}

/// Breaks when a layer starts with another distribution, or with one by another fan.
#[test]
fn weights_and_biases_start_with_the_documented_distribution() {
    let network = LeNetConfig::new([8, 8])
        .with_channels([256, 320])
        .with_hidden([512, 288])
        .with_num_classes(400)
        .init::<TestBackend>(&Default::default());
    let has_bias = "all layers have a bias";
    for (layer, fan_in) in [(&network.conv1, 9), (&network.conv2, 256 * 9)] {
        assert_uniform(&layer.weight, fan_in);
        assert_uniform(layer.bias.as_ref().expect(has_bias), fan_in);
    }
    let LeNet { fc1, fc2, head, .. } = &network;
    for (layer, fan_in) in [(fc1, 320 * 4), (fc2, 512), (head, 288)] {
        assert_uniform(&layer.weight, fan_in);
        assert_uniform(layer.bias.as_ref().expect(has_bias), fan_in);
    }
}

/// As much is left of it as of the configuration's images, and its last row would not be seen.
#[test]
#[should_panic(expected = "image_size is [12, 10], and the size of these images is [13, 10]")]
fn an_image_of_another_size_is_refused() {
    let network = LeNetConfig::new([12, 10]).init::<TestBackend>(&Default::default());
    network.forward(Tensor::zeros([1, 1, 13, 10], &Default::default()));
}

#[test]
#[should_panic(expected = "image_size must be at least [4, 4], and is [8, 3]")]
fn an_image_of_which_nothing_is_left_is_refused() {
    LeNetConfig::new([8, 3]).init::<TestBackend>(&Default::default());
}

#[test]
#[should_panic(expected = "image_size must be at least [16, 16], and is [16, 15]")]
fn without_padding_an_image_must_be_larger() {
    let config = LeNetConfig::lenet5().with_image_size([16, 15]);
    config.init::<TestBackend>(&Default::default());
}
