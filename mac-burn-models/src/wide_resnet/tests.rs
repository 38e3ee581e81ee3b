//! The network as a whole; its arithmetic is compared in `tests/parity`.

use burn::module::{AutodiffModule, Module, Param};
use burn::tensor::{Distribution, Tensor, s};

use super::*;
use crate::testing::{TestBackend, TrainBackend, names, num_params, std, uncovered_and_covered};

fn small() -> WideResNetConfig {
    WideResNetConfig::new(16, 1)
        .with_image_channels(2)
        .with_num_classes(5)
}

fn images([height, width]: [usize; 2]) -> Tensor<TrainBackend, 4> {
    let shape = [2, 2, height, width];
    Tensor::random(shape, Distribution::Default, &Default::default())
}

/// Breaks when a layer is called without its recorder, as through the layer that it holds.
#[test]
fn every_layer_is_recorded() {
    for (width, shortcuts) in [(1, 2), (2, 3)] {
        let config = WideResNetConfig { width, ..small() };
        let network = config.init::<TrainBackend>(&Default::default());
        let images = images([8, 6]);
        let (uncovered, covered) = uncovered_and_covered(network, |it| it.forward(images.clone()));

        assert_eq!(uncovered, Vec::<String>::new());
        assert_eq!(covered, 2 + 6 * 2 + shortcuts);
    }
}

#[test]
fn images_of_any_size_are_taken() {
    let network = small().init::<TrainBackend>(&Default::default());
    for size in [[1, 1], [7, 9], [16, 5]] {
        let images = images(size);
        assert_eq!(network.forward(images.clone()).dims(), [2, 5]);
        assert_eq!(network.valid().forward(images.inner()).dims(), [2, 5]);
    }
}

#[test]
fn the_constructors_have_the_documented_numbers_of_parameters() {
    let parameters =
        |config: WideResNetConfig| num_params(&config.init::<TestBackend>(&Default::default()));

    assert_eq!(parameters(WideResNetConfig::wrn_28_10(10)), 36_479_194);
    assert_eq!(parameters(WideResNetConfig::wrn_28_10(100)), 36_536_884);
    assert_eq!(parameters(WideResNetConfig::wrn_28_20(10)), 145_815_514);
    assert_eq!(parameters(WideResNetConfig::wrn_16_8(10)), 10_961_370);
    assert_eq!(parameters(WideResNetConfig::wrn_40_4(10)), 8_949_210);
}

/// Breaks when the dropout of the configuration does not reach the blocks, or is not called.
#[test]
fn every_block_drops_in_training_and_not_outside() {
    let network = small()
        .with_dropout(0.3)
        .init::<TrainBackend>(&Default::default());
    for block in network.groups.iter().flat_map(|group| &group.blocks) {
        assert_eq!(block.dropout.prob, 0.3);
        let channels = block.norm1.gamma.dims()[0];
        let map = Tensor::random(
            [2, channels, 8, 8],
            Distribution::Default,
            &Default::default(),
        );
        let output = || block.forward(map.clone()).into_data();
        assert_ne!(output(), output());
        let valid = block.valid();
        let output = || valid.forward(map.clone().inner()).into_data();
        assert_eq!(output(), output());
    }
}

/// Of 4096 values a part has a standard deviation below 0.008. Half of what comes out of a rectifier is 0, and with 0.3 of the
/// other half dropped 0.65 is; a norm after the dropout would leave 0.5, as without dropout.
const OF_ZEROS: f32 = 0.04;

#[test]
fn dropout_is_after_the_second_rectifier() {
    let network = small()
        .with_dropout(0.3)
        .init::<TrainBackend>(&Default::default());
    let mut block = network.groups[0].blocks[1].clone();
    // The identity in the place of the second convolution, so that the branch is what goes into it.
    let device = Default::default();
    let identity = Tensor::eye(16, &device).reshape([16, 16, 1, 1]);
    let kernels = Tensor::zeros([16, 16, 3, 3], &device);
    let kernels = kernels.slice_assign(s![.., .., 1..2, 1..2], identity);
    let mut record = block.clone().into_record();
    record.conv2.weight = Param::from_tensor(kernels);
    block = block.load_record(record);

    let map = Tensor::random([4, 16, 8, 8], Distribution::Default, &device);
    let branch = block.forward(map.clone()) - map;
    let zeros: f32 = branch.equal_elem(0.0).float().mean().into_scalar();
    assert!((zeros - 0.65).abs() < OF_ZEROS, "{zeros}");
}

/// Breaks when a path is not translated, or two are to the same name.
#[test]
fn all_tensors_have_names_in_pytorch() {
    let network = small().init::<TestBackend>(&Default::default());
    let mut names = names(&network, authors_name);
    let parts = ["conv1.", "block", "bn1.", "fc."];

    assert!(
        names
            .iter()
            .all(|it| parts.iter().any(|part| it.starts_with(part)))
    );
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// Of 512 weights, the standard deviation is within 4.5/√1024 = 14 % of the true one. A variance by fan-in is 41 % away.
const OF_INITIAL_WEIGHTS: f64 = 0.14;

#[test]
fn weights_start_at_the_documented_scale() {
    let network = small().init::<TestBackend>(&Default::default());
    let block = &network.groups[1].blocks[0];
    let shortcut = block.shortcut.as_ref().expect("the channels change");
    let weights = [
        (std(block.conv1.weight.val()), 2.0_f64 / (32.0 * 9.0)),
        (std(shortcut.weight.val()), 2.0 / 32.0),
    ];
    for (found, variance) in weights {
        let error = found / variance.sqrt() - 1.0;
        assert!(error.abs() < OF_INITIAL_WEIGHTS, "{found}");
    }
    let bias = network.head.bias.as_ref().expect("the head has a bias");
    assert_eq!(std(bias.val()), 0.0);
}

#[test]
#[should_panic(expected = "depth must be 6 n + 4 and width at least 1, and they are 27 and 10")]
fn a_depth_between_is_refused() {
    WideResNetConfig::new(27, 10).init::<TestBackend>(&Default::default());
}
