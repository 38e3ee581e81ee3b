//! Properties of the networks of every family.

mod limits;

use burn::module::{AutodiffModule, Module, ModuleMapper, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};
use mac_burn::{Coverage, InputCovariance, LayerReport, unrecorded};

use super::*;
use crate::convolution::StemKind;
use crate::resnet::{BlockKind, ShortcutKind};
use crate::testing::{TrainBackend, report_of_a_step};

/// Asserts that a network without its recorders gives the same logits, and that an optimizer finds no recorder in it.
fn assert_plain<M, const D: usize>(network: M, forward: impl Fn(&M) -> Tensor<TrainBackend, D>)
where
    M: AutodiffModule<TrainBackend>,
{
    // Parameters are drawn when they are first needed; a clone before that draws its own.
    let logits = forward(&network).into_data();
    let plain = unrecorded(network.clone());
    assert_eq!(forward(&plain).into_data(), logits);

    let report = report_of_a_step(plain, &forward);
    let has_none = |layer: &LayerReport| layer.coverage == Coverage::NoRecorder;
    assert!(report.layers.iter().all(has_none), "{report}");
    assert_eq!(report.covered_parameters, 0);
    let report = report_of_a_step(network, forward);
    assert!(report.covered_parameters > 0, "{report}");
}

/// Of this number of channels, height and width.
fn images(size: [usize; 3]) -> Tensor<TrainBackend, 4> {
    let [channels, height, width] = size;
    let shape = [2, channels, height, width];
    Tensor::random(shape, Distribution::Default, &Default::default())
}

/// Breaks when a family has a layer whose recorder stays, or takes another way without one.
#[test]
fn the_plain_network_has_the_same_definition() {
    let device = Default::default();
    let rows = Tensor::<TrainBackend, 2>::random([5, 4], Distribution::Default, &device);
    let mlp: Mlp<TrainBackend> = MlpConfig::new(vec![4, 6, 3]).init(&device);
    assert_plain(mlp, |it| it.forward(rows.clone()));

    let small = images([1, 8, 8]);
    let lenet: LeNet<TrainBackend> = LeNetConfig::new([8, 8]).init(&device);
    assert_plain(lenet, |it| it.forward(small.clone()));

    let colour = images([3, 16, 16]);
    for block in [BlockKind::Basic, BlockKind::Bottleneck] {
        let config = ResNetConfig::new(vec![1, 1], block).with_channels(4);
        for shortcut in [ShortcutKind::Padding, ShortcutKind::Projection] {
            let config = config.clone().with_shortcut(shortcut).with_num_classes(5);
            let resnet: ResNet<TrainBackend> = config.init(&device);
            assert_plain(resnet, |it| it.forward(colour.clone()));
        }
    }
    let wide: WideResNet<TrainBackend> = WideResNetConfig::new(10, 1).init(&device);
    assert_plain(wide, |it| it.forward(colour.clone()));

    let config = DenseNetConfig::new(4, vec![1, 2]).with_num_classes(5);
    for stem in [StemKind::Large, StemKind::Bare] {
        let densenet: DenseNet<TrainBackend> = config.clone().with_stem(stem).init(&device);
        assert_plain(densenet, |it| it.forward(colour.clone()));
    }
}

/// Breaks like the test of the other networks, or when attention takes another way without a recorder.
#[test]
fn the_plain_transformer_has_the_same_definition() {
    let device = Default::default();
    let colour = images([3, 16, 16]);
    let config = VisionTransformerConfig::new(8, 2).with_image_size([16, 16]);
    let config = config
        .with_patch_size(4)
        .with_n_layers(2)
        .with_num_classes(5);
    let deit: VisionTransformer<TrainBackend> = config.init(&device);
    assert_plain(deit, |it| it.forward(colour.clone()));

    // Shifted windows in the first stage, and windows that do not divide the map in the second.
    let stages = [8, 16].map(|d_model| SwinStageConfig::new(d_model, 2, 2));
    let config = SwinConfig::new(stages.into()).with_image_size([24, 24]);
    let config = config.with_window_size([2, 2]).with_num_classes(5);
    let swin: Swin<TrainBackend> = config.init(&device);
    let larger = images([3, 24, 24]);
    assert_plain(swin, |it| it.forward(larger.clone()));

    let tokens = Tensor::from_data([[3, 10, 0, 7], [2, 2, 9, 5]], &device);
    let config = GptConfig::new(11).with_context_size(4).with_n_layers(2);
    let gpt: Gpt<TrainBackend> = config.with_n_heads(2).with_d_model(8).init(&device);
    assert_plain(gpt, |it| it.forward(tokens.clone()));
}

/// Sets a parameter to zero.
struct Zeroed(ParamId);

impl<B: Backend> ModuleMapper<B> for Zeroed {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        match param.id == self.0 {
            true => param.map(|values| values.zeros_like()),
            false => param,
        }
    }
}

/// Asserts that the first layer of a network has inputs of the data's size, and that the network sees the data through it
/// alone.
macro_rules! assert_first_layer {
    ($network:expr, $rank:literal, $shape:expr) => {
        let network = $network;
        let [one, other] = [(); 2].map(|()| {
            Tensor::<TrainBackend, $rank>::random(
                $shape,
                Distribution::Default,
                &Default::default(),
            )
        });
        // A layer with inputs of another size refuses them.
        InputCovariance::of(network.first_layer()).update(one.clone());
        let first = network.forward(one.clone()).into_data();
        assert_ne!(first, network.forward(other.clone()).into_data());

        let weight = network.first_layer().weight.id;
        let blind = network.map(&mut Zeroed(weight));
        let first = blind.forward(one).into_data();
        assert_eq!(first, blind.forward(other).into_data());
    };
}

/// Breaks when another layer is called the first one; of three channels only images are.
#[test]
fn the_first_layer_sees_the_data() {
    let device = Default::default();
    let images = [2, 3, 16, 16];
    let mlp: Mlp<TrainBackend> = MlpConfig::new(vec![3, 6, 5]).init(&device);
    assert_first_layer!(mlp, 2, [2, 3]);
    let config = LeNetConfig::new([16, 16]).with_image_channels(3);
    let lenet: LeNet<TrainBackend> = config.init(&device);
    assert_first_layer!(lenet, 4, images);
    let config = ResNetConfig::new(vec![1, 1], BlockKind::Basic).with_channels(4);
    let resnet: ResNet<TrainBackend> = config.init(&device);
    assert_first_layer!(resnet, 4, images);
    let wide: WideResNet<TrainBackend> = WideResNetConfig::new(10, 1).init(&device);
    assert_first_layer!(wide, 4, images);
    let densenet: DenseNet<TrainBackend> = DenseNetConfig::new(4, vec![1, 2]).init(&device);
    assert_first_layer!(densenet, 4, images);
    let config = VisionTransformerConfig::new(8, 2).with_image_size([16, 16]);
    let transformer: VisionTransformer<TrainBackend> = config.with_n_layers(1).init(&device);
    assert_first_layer!(transformer, 4, images);
    let stages = [8, 16].map(|d_model| SwinStageConfig::new(d_model, 1, 2));
    let config = SwinConfig::new(stages.into()).with_image_size([16, 16]);
    let swin: Swin<TrainBackend> = config.init(&device);
    assert_first_layer!(swin, 4, images);
}
