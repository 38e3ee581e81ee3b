//! The network as a whole; its arithmetic is compared in `tests/parity`.

use burn::module::AutodiffModule;
use burn::tensor::{Distribution, Int, Tensor};

use super::*;
use crate::convolution::StemKind;
use crate::testing::{TestBackend, TrainBackend, names, num_params, std, uncovered_and_covered};

/// Three channels of images, so that none of the network's is exchanged with it.
fn small(block: BlockKind, shortcut: ShortcutKind, stem: StemKind) -> ResNetConfig {
    ResNetConfig::new(vec![1, 2], block)
        .with_channels(4)
        .with_stem(stem)
        .with_shortcut(shortcut)
        .with_num_classes(5)
}

fn images([height, width]: [usize; 2]) -> Tensor<TrainBackend, 4> {
    let shape = [2, 3, height, width];
    Tensor::random(shape, Distribution::Default, &Default::default())
}

/// Breaks when a layer is called without its recorder, as through the layer that it holds.
#[test]
fn every_layer_is_recorded() {
    let layers = [
        (BlockKind::Basic, ShortcutKind::Padding, 2 + 3 * 2),
        (BlockKind::Basic, ShortcutKind::Projection, 2 + 3 * 2 + 1),
        (
            BlockKind::Bottleneck,
            ShortcutKind::Projection,
            2 + 3 * 3 + 2,
        ),
    ];
    for (block, shortcut, layers) in layers {
        let config = small(block, shortcut, StemKind::Small);
        let resnet = config.init::<TrainBackend>(&Default::default());
        let images = images([8, 6]);
        let (uncovered, covered) =
            uncovered_and_covered(resnet, |resnet| resnet.forward(images.clone()));

        assert_eq!(uncovered, Vec::<String>::new());
        assert_eq!(covered, layers);
    }
}

/// Breaks when a stride or a padding is not the same on both ways through a block.
#[test]
fn images_of_any_size_are_taken() {
    for block in [BlockKind::Basic, BlockKind::Bottleneck] {
        for shortcut in [ShortcutKind::Padding, ShortcutKind::Projection] {
            for stem in [StemKind::Large, StemKind::Small, StemKind::Bare] {
                let resnet = small(block, shortcut, stem).init::<TrainBackend>(&Default::default());
                for size in [[1, 1], [7, 9], [16, 5]] {
                    let images = images(size);
                    assert_eq!(resnet.forward(images.clone()).dims(), [2, 5]);
                    assert_eq!(resnet.valid().forward(images.inner()).dims(), [2, 5]);
                }
            }
        }
    }
}

#[test]
fn the_constructors_have_the_documented_numbers_of_parameters() {
    let parameters =
        |config: ResNetConfig| num_params(&config.init::<TestBackend>(&Default::default()));

    assert_eq!(parameters(ResNetConfig::resnet18()), 11_689_512);
    assert_eq!(parameters(ResNetConfig::resnet34()), 21_797_672);
    assert_eq!(parameters(ResNetConfig::resnet50()), 25_557_032);
    assert_eq!(parameters(ResNetConfig::resnet101()), 44_549_160);
    assert_eq!(parameters(ResNetConfig::resnet152()), 60_192_808);
    assert_eq!(parameters(ResNetConfig::resnet20(10)), 269_722);
    assert_eq!(parameters(ResNetConfig::resnet32(10)), 464_154);
    assert_eq!(parameters(ResNetConfig::resnet44(10)), 658_586);
    assert_eq!(parameters(ResNetConfig::resnet56(10)), 853_018);
    assert_eq!(parameters(ResNetConfig::resnet110(10)), 1_727_962);
    assert_eq!(parameters(ResNetConfig::resnet18_cifar(10)), 11_173_962);
    assert_eq!(parameters(ResNetConfig::resnet34_cifar(10)), 21_282_122);
    assert_eq!(parameters(ResNetConfig::resnet50_cifar(10)), 23_520_842);
    assert_eq!(parameters(ResNetConfig::resnet101_cifar(10)), 42_512_970);
    assert_eq!(parameters(ResNetConfig::resnet152_cifar(10)), 58_156_618);
    let wide = ResNetConfig::resnet50().with_width(128);
    assert_eq!(parameters(wide), 68_883_240);
}

/// Breaks when rows or columns are taken from another one on, or the zeros are not half on either side.
#[test]
fn a_padded_shortcut_takes_every_other_position_and_puts_zeros_around_the_channels() {
    let shortcut = Shortcut::<TestBackend> {
        projection: None,
        stride: 2,
        channels: 4,
    };
    let input = Tensor::<TestBackend, 1, Int>::arange(0..2 * 3 * 5, &Default::default());
    let output = shortcut.forward(input.reshape([1, 2, 3, 5]).float());

    assert_eq!(output.dims(), [1, 4, 2, 3]);
    let values: Vec<f32> = output.into_data().iter().collect();
    let first = [0.0, 2.0, 4.0, 10.0, 12.0, 14.0];
    let second = first.map(|value| value + 15.0);
    assert_eq!(values, [[0.0; 6], first, second, [0.0; 6]].concat());
}

/// Breaks when a path is not translated, or two are to the same name.
#[test]
fn all_tensors_have_names_in_pytorch() {
    for config in [ResNetConfig::resnet20(10), ResNetConfig::resnet50()] {
        let resnet = config.init::<TestBackend>(&Default::default());
        for name in [authors_name, timm_name] {
            let mut names = names(&resnet, name);
            let parts = ["conv", "bn", "layer", "fc", "linear"];
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
    }
}

/// The least of these layers has 64 · 10 weights: their standard deviation is within 4.5/√1280 = 12.6 % of the true one. A
/// variance by the other fan is 41 % away in the convolution, and the bound of a uniform distribution for its deviation 73 %.
const OF_INITIAL_WEIGHTS: f64 = 0.126;

#[test]
fn weights_start_at_the_documented_scale() {
    let check = |values: f64, expected: f64| {
        let error = values / expected - 1.0;
        assert!(error.abs() < OF_INITIAL_WEIGHTS, "{values} and {expected}");
    };
    let convolution = |config: ResNetConfig| {
        let resnet = config.init::<TestBackend>(&Default::default());
        let head = std(resnet.head.weight.val());
        let ResidualBlock::Basic(block) = &resnet.stages[1].blocks[0] else {
            panic!("its blocks are basic");
        };
        (std(block.conv1.conv.weight.val()), head)
    };
    let (conv, head) = convolution(ResNetConfig::resnet20(10));
    check(conv, (2.0_f64 / (16.0 * 9.0)).sqrt());
    check(head, (2.0_f64 / 64.0).sqrt());
    let (conv, head) = convolution(ResNetConfig::resnet18());
    check(conv, (2.0_f64 / (128.0 * 9.0)).sqrt());
    check(head, (1.0_f64 / (3.0 * 512.0)).sqrt());
    let (conv, head) = convolution(ResNetConfig::resnet18_cifar(10));
    check(conv, (1.0_f64 / (3.0 * 64.0 * 9.0)).sqrt());
    check(head, (1.0_f64 / (3.0 * 512.0)).sqrt());
}

/// Breaks when a bottleneck's stride is at its first convolution, as in the paper: the second one would see 4×4.
#[test]
fn the_stride_of_a_bottleneck_is_at_its_second_convolution() {
    let config = small(
        BlockKind::Bottleneck,
        ShortcutKind::Projection,
        StemKind::Bare,
    );
    let resnet = config.init::<TestBackend>(&Default::default());
    let ResidualBlock::Bottleneck(block) = &resnet.stages[1].blocks[0] else {
        panic!("its blocks are bottlenecks");
    };
    let map = Tensor::ones([1, 16, 8, 8], &Default::default());

    assert_eq!(block.conv1.forward(map.clone()).dims(), [1, 8, 8, 8]);
    assert_eq!(block.forward(map).dims(), [1, 32, 4, 4]);
}

#[test]
#[should_panic(expected = "a ResNet has stages, and each has blocks: blocks is [2, 0]")]
fn a_stage_without_blocks_is_refused() {
    let config = ResNetConfig::new(vec![2, 0], BlockKind::Basic);
    config.init::<TestBackend>(&Default::default());
}

#[test]
#[should_panic(expected = "basic blocks have no width: it is 128")]
fn wide_basic_blocks_are_refused() {
    let config = ResNetConfig::resnet18().with_width(128);
    config.init::<TestBackend>(&Default::default());
}

#[test]
#[should_panic(expected = "1 at least: channels and width are 8 and 4")]
fn bottlenecks_without_a_channel_are_refused() {
    let config = ResNetConfig::resnet50().with_channels(8).with_width(4);
    config.init::<TestBackend>(&Default::default());
}
