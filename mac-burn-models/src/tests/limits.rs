//! Fields that no network can have are refused by their names.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::resnet::BlockKind;
use crate::testing::TestBackend;
use crate::*;

/// Rates at which everything is dropped, or that are no probabilities.
const RATES: [f64; 4] = [-0.1, 1.0, f64::INFINITY, f64::NAN];

/// Initializes a network, and returns what it says when it is refused.
macro_rules! refused {
    ($config:expr) => {
        message(|| drop($config.init::<TestBackend>(&Default::default())))
    };
}

/// Asserts that a field of a configuration must be at least 1.
macro_rules! assert_least {
    ($field:literal, $config:expr) => {
        let expected = format!("{} must be at least 1, and is 0", $field);
        assert_eq!(refused!($config), Some(expected));
    };
}

/// Asserts that a field of a configuration must be a rate; it is set by `$with`.
macro_rules! assert_rate {
    ($field:literal, $config:expr, $with:ident) => {
        for rate in RATES {
            let expected = format!("{} must be in [0, 1), and is {rate}", $field);
            assert_eq!(refused!($config.$with(rate)), Some(expected));
        }
        assert_eq!(refused!($config.$with(0.0)), None);
        assert_eq!(refused!($config.$with(0.9)), None);
    };
}

/// The message of a panic; none if there is none.
fn message(init: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(init)).err()?;
    let message = panic.downcast::<String>();

    Some(*message.expect("a panic with values has a text of its own"))
}

fn densenet() -> DenseNetConfig {
    DenseNetConfig::new(4, vec![1, 2])
}

fn resnet(block: BlockKind) -> ResNetConfig {
    ResNetConfig::new(vec![1, 1], block)
}

fn wide_resnet() -> WideResNetConfig {
    WideResNetConfig::new(10, 1)
}

fn lenet() -> LeNetConfig {
    LeNetConfig::lenet5()
}

fn deit() -> VisionTransformerConfig {
    VisionTransformerConfig::deit_tiny_cifar(10).with_n_layers(1)
}

fn swin() -> SwinConfig {
    SwinConfig::new(vec![SwinStageConfig::new(8, 1, 2)])
}

fn gpt() -> GptConfig {
    GptConfig::characters().with_n_layers(1)
}

/// Breaks when a size of 0 is met only within, where it wraps around or makes a network of nothing.
#[test]
fn sizes_of_convolutional_networks_are_at_least_one() {
    assert_least!("growth", DenseNetConfig::new(0, vec![1]));
    assert_least!("bottleneck", densenet().with_bottleneck(0));
    assert_least!("stem_channels", densenet().with_stem_channels(Some(0)));
    assert_least!("image_channels", densenet().with_image_channels(0));
    assert_least!("num_classes", densenet().with_num_classes(0));
    for block in [BlockKind::Basic, BlockKind::Bottleneck] {
        assert_least!("channels", resnet(block).with_channels(0));
        assert_least!("image_channels", resnet(block).with_image_channels(0));
        assert_least!("num_classes", resnet(block).with_num_classes(0));
    }
    assert_least!("image_channels", wide_resnet().with_image_channels(0));
    assert_least!("num_classes", wide_resnet().with_num_classes(0));
    for padded in [true, false] {
        assert_least!(
            "kernel_size",
            lenet().with_padded(padded).with_kernel_size(0)
        );
    }
    assert_least!("image_channels", lenet().with_image_channels(0));
    assert_least!("num_classes", lenet().with_num_classes(0));
    assert_least!("channels[0]", lenet().with_channels([0, 16]));
    assert_least!("channels[1]", lenet().with_channels([6, 0]));
    assert_least!("hidden[0]", lenet().with_hidden([0, 84]));
    assert_least!("hidden[1]", lenet().with_hidden([120, 0]));
}

/// Breaks like the test of the convolutional networks.
#[test]
fn sizes_of_other_networks_are_at_least_one() {
    assert_least!("d_model", VisionTransformerConfig::new(0, 3));
    assert_least!("image_channels", deit().with_image_channels(0));
    assert_least!("num_classes", deit().with_num_classes(0));
    let stages = vec![SwinStageConfig::new(8, 1, 2), SwinStageConfig::new(0, 1, 2)];
    assert_least!("stages[1].d_model", SwinConfig::new(stages.clone()));
    assert_least!("image_channels", swin().with_image_channels(0));
    assert_least!("num_classes", swin().with_num_classes(0));
    assert_least!("vocab_size", GptConfig::new(0));
    assert_least!("context_size", gpt().with_context_size(0));
    assert_least!("d_model", gpt().with_d_model(0));
    assert_least!("sizes[1]", MlpConfig::new(vec![4, 0, 2]));
}

/// Breaks when a rate is not checked, is checked under the name of another, or by something within that does not know NaN, or
/// knows only the part of a rate that a block has.
#[test]
fn rates_leave_something_and_are_named() {
    assert_rate!("dropout", densenet(), with_dropout);
    assert_rate!("dropout", wide_resnet(), with_dropout);
    assert_rate!("dropout", deit(), with_dropout);
    assert_rate!("attention_dropout", deit(), with_attention_dropout);
    assert_rate!("head_dropout", deit(), with_head_dropout);
    assert_rate!("drop_path", deit(), with_drop_path);
    assert_rate!("drop_path", deit().with_n_layers(3), with_drop_path);
    assert_rate!("dropout", swin(), with_dropout);
    assert_rate!("attention_dropout", swin(), with_attention_dropout);
    assert_rate!("head_dropout", swin(), with_head_dropout);
    assert_rate!("drop_path", swin(), with_drop_path);
    assert_rate!("embedding_dropout", gpt(), with_embedding_dropout);
    assert_rate!("attention_dropout", gpt(), with_attention_dropout);
    assert_rate!("residual_dropout", gpt(), with_residual_dropout);
}
