//! The network as a whole; its arithmetic is compared in `tests/parity`.

use burn::module::AutodiffModule;
use burn::tensor::{Distribution, Tensor, s};

use super::*;
use crate::convolution::StemKind;
use crate::testing::{
    TestBackend, TrainBackend, assert_drops_in_training_only, names, num_params, std,
    uncovered_and_covered,
};

const GROWTH: usize = 3;

fn small(stem: StemKind) -> DenseNetConfig {
    DenseNetConfig::new(GROWTH, vec![1, 3, 2])
        .with_stem(stem)
        .with_image_channels(2)
        .with_num_classes(5)
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<TrainBackend, D> {
    Tensor::random(shape, Distribution::Default, &Default::default())
}

/// Breaks when a layer is called without its recorder, as through the layer that it holds.
#[test]
fn every_layer_is_recorded() {
    let network = small(StemKind::Bare).init::<TrainBackend>(&Default::default());
    let images = random([2, 2, 8, 6]);
    let (uncovered, covered) = uncovered_and_covered(network, |it| it.forward(images.clone()));

    assert_eq!(uncovered, Vec::<String>::new());
    assert_eq!(covered, 2 + 6 * 2 + 2);
}

#[test]
fn images_of_any_size_are_taken_of_which_something_is_left() {
    for (stem, least) in [
        (StemKind::Large, 13),
        (StemKind::Small, 4),
        (StemKind::Bare, 4),
    ] {
        let network = small(stem).init::<TrainBackend>(&Default::default());
        for size in [[least, least], [least + 1, 17], [24, least + 3]] {
            let images = random([2, 2, size[0], size[1]]);
            assert_eq!(network.forward(images.clone()).dims(), [2, 5]);
            assert_eq!(network.valid().forward(images.inner()).dims(), [2, 5]);
        }
    }
}

/// Breaks when a size is computed of nothing, which wraps around without debug assertions.
#[test]
#[should_panic(expected = "leaves nothing of [1, 4]")]
fn images_of_which_nothing_is_left_are_refused() {
    let network = small(StemKind::Small).init::<TrainBackend>(&Default::default());
    network.forward(random([2, 2, 3, 8]));
}

#[test]
fn the_constructors_have_the_documented_numbers_of_parameters() {
    let parameters =
        |config: DenseNetConfig| num_params(&config.init::<TestBackend>(&Default::default()));

    assert_eq!(parameters(DenseNetConfig::densenet121()), 7_978_856);
    assert_eq!(parameters(DenseNetConfig::densenet169()), 14_149_480);
    assert_eq!(parameters(DenseNetConfig::densenet201()), 20_013_928);
    assert_eq!(parameters(DenseNetConfig::densenet161()), 28_681_000);
    assert_eq!(parameters(DenseNetConfig::densenet121_cifar(10)), 6_956_298);
    assert_eq!(
        parameters(DenseNetConfig::densenet169_cifar(10)),
        12_493_322
    );
    assert_eq!(
        parameters(DenseNetConfig::densenet201_cifar(10)),
        18_104_330
    );
    assert_eq!(
        parameters(DenseNetConfig::densenet161_cifar(10)),
        26_482_378
    );
    assert_eq!(parameters(DenseNetConfig::thin_cifar(10)), 1_000_618);
}

/// Breaks when the channels that come out of a block or are left by a transition are other numbers, or are rounded up.
#[test]
fn channels_grow_by_layers_and_are_compressed_by_transitions() {
    let check = |config: DenseNetConfig, transitions: [[usize; 2]; 2], head| {
        let network = config.init::<TestBackend>(&Default::default());
        let shapes = network.transitions.iter().map(|transition| {
            let [channels_out, channels_in, _, _] = transition.conv.conv.weight.dims();
            [channels_in, channels_out]
        });
        assert_eq!(shapes.collect::<Vec<_>>(), transitions);
        assert_eq!(network.head.weight.dims(), [head, 5]);
    };
    // 6 of the stem and 3 of a layer are 9, of which 4 are left; with 9 of three layers 13, of which 6 are left.
    let config = small(StemKind::Bare);
    check(config.clone(), [[9, 4], [13, 6]], 12);
    let config = config.with_compression(0.7).with_stem_channels(Some(8));
    check(config, [[11, 7], [16, 11]], 17);
}

/// A layer, a map, and what the layer makes of it in training.
fn layer(concatenation: Concatenation, dropout: f64) -> [Tensor<TrainBackend, 4>; 2] {
    let config = small(StemKind::Bare)
        .with_concatenation(concatenation)
        .with_dropout(dropout);
    let layer = DenseLayer::new(&config, 5, &Default::default());
    let map = random([4, 5, 16, 16]);
    [map.clone(), layer.forward(map)]
}

/// Breaks when the input is changed on its way, or is put elsewhere.
#[test]
fn the_input_is_part_of_the_output() {
    for dropout in [0.0, 0.5] {
        let [map, output] = layer(Concatenation::OldFirst, dropout);
        let old = output.slice(s![.., ..5, .., ..]);
        assert_eq!(old.into_data(), map.into_data());
        let [map, output] = layer(Concatenation::NewFirst, dropout);
        let old = output.slice(s![.., GROWTH.., .., ..]);
        assert_eq!(old.into_data(), map.into_data());
    }
}

/// Of 3072 values that are dropped at a rate of 0.25, the part has a standard deviation of 0.0078.
const OF_DROPPED: f32 = 0.04;

/// Breaks when the output is not dropped after the last convolution; before it, none of its values would be 0.
#[test]
fn the_output_of_a_layer_is_dropped() {
    let [_, output] = layer(Concatenation::OldFirst, 0.25);
    let new = output.slice(s![.., 5.., .., ..]);
    let zeros: f32 = new.equal_elem(0.0).float().mean().into_scalar();

    assert!((zeros - 0.25).abs() < OF_DROPPED, "{zeros}");
}

/// Breaks when nothing is dropped after the first convolution: what is left after the second would be the same each time.
#[test]
fn a_layer_drops_also_within() {
    let config = small(StemKind::Bare).with_dropout(0.25);
    let layer = DenseLayer::new(&config, 5, &Default::default());
    let map = random([4, 5, 16, 16]);
    let [first, second] = [(); 2].map(|()| {
        let output = layer.forward(map.clone());
        output.slice(s![.., 5.., .., ..])
    });
    let left =
        first.clone().not_equal_elem(0.0).float() * second.clone().not_equal_elem(0.0).float();
    let largest: f32 = ((first - second) * left).abs().max().into_scalar();

    assert!(largest > 0.0);
}

/// Breaks when a transition drops nothing, or does after its pooling, where a quarter of all values would be 0 and not a 256th.
#[test]
fn a_transition_drops_before_its_pooling() {
    let config = small(StemKind::Bare).with_dropout(0.25);
    let transition = Transition::new(&config, [9, 4], &Default::default());
    let map = random([4, 9, 16, 16]);
    let output = transition.forward(map.clone());
    let zeros: f32 = output.equal_elem(0.0).float().mean().into_scalar();

    assert!(zeros < OF_DROPPED, "{zeros}");
    assert_drops_in_training_only(
        || transition.forward(map.clone()),
        || transition.valid().forward(map.clone().inner()),
    );
}

/// Breaks when a path is not translated, or two are to the same name.
#[test]
fn all_tensors_have_names_in_pytorch() {
    let check = |stem, name, parts: &[&str]| {
        let network = small(stem).init::<TestBackend>(&Default::default());
        let mut names = names(&network, name);
        let is_known = |it: &String| parts.iter().any(|part| it.starts_with(part));
        assert!(names.iter().all(is_known), "{names:?}");
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    };
    check(StemKind::Large, timm_name, &["features.", "classifier."]);
    let parts = ["conv1.", "dense", "trans", "bn.", "linear."];
    check(StemKind::Bare, authors_name, &parts);
}

/// The least of these layers has 128 · 64 weights: their standard deviation is within 4.5/√16384 = 3.5 % of the true one. A
/// variance by fan-out is 29 % away, and that of PyTorch's default 59 %.
const OF_INITIAL_WEIGHTS: f64 = 0.035;

#[test]
fn weights_start_at_the_documented_scale() {
    let configs = [
        (DenseNetConfig::densenet121(), 2.0_f64),
        (DenseNetConfig::densenet121_cifar(10), 1.0 / 3.0),
    ];
    for (config, variance) in configs {
        let network = config.init::<TestBackend>(&Default::default());
        let layer = &network.blocks[0].layers[0];
        let weights = [
            (std(layer.conv1.conv.weight.val()), 64.0),
            (std(layer.conv2.conv.weight.val()), 128.0 * 9.0),
        ];
        for (found, fan_in) in weights {
            let error = found / (variance / fan_in).sqrt() - 1.0;
            assert!(error.abs() < OF_INITIAL_WEIGHTS, "{found}");
        }
        let bias = network.head.bias.as_ref().expect("the head has a bias");
        assert_eq!(std(bias.val()) == 0.0, variance == 2.0);
    }
}

#[test]
#[should_panic(
    expected = "a DenseNet has blocks, and a compression in (0, 1]: these are [6] and 0"
)]
fn a_compression_to_nothing_is_refused() {
    let config = DenseNetConfig::new(32, vec![6]).with_compression(0.0);
    config.init::<TestBackend>(&Default::default());
}

#[test]
#[should_panic(expected = "a compression of 0.01 leaves none of 70 channels")]
fn a_compression_that_leaves_no_channel_is_refused() {
    let config = DenseNetConfig::new(32, vec![0, 1])
        .with_compression(0.01)
        .with_stem_channels(Some(70));
    config.init::<TestBackend>(&Default::default());
}
