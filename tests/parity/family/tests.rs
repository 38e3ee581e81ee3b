//! The reading of names and arguments, by the networks that result.

use mac_burn_models::{Activation, swin::SwinConfig};
use serde_json::{Value, json};

use super::{Config, build, config};
use crate::{construction::Construction, error::ParityError, subject::Described, suite::Training};

fn construction(source: &str, arguments: Value) -> Construction {
    let arguments = serde_json::from_value(arguments).expect("arguments are an object");

    Construction::new(source, arguments)
}

/// The number of parameters of a construction, if a family covers it.
fn parameters(source: &str, arguments: Value) -> Result<Option<usize>, ParityError> {
    let network = build::<Training>(&construction(source, arguments), &Default::default())?;
    let count = |tensors: Vec<Described>| {
        let parameters = tensors.iter().filter(|it| !it.is_buffer());
        parameters.map(Described::num_elements).sum()
    };

    Ok(network.map(|network| count(network.tensors())))
}

fn swin(source: &str, arguments: Value) -> Option<SwinConfig> {
    match config(&construction(source, arguments)).ok()? {
        Some(Config::Swin(config)) => Some(config),
        _ => None,
    }
}

/// Breaks when a name has the size of another, or that of another kind of network is taken.
#[test]
fn names_of_vision_transformers_are_those_of_timm_and_of_the_authors() {
    for (source, expected) in [
        ("timm:deit_small_patch16_224.fb_in1k", Some(22_050_664)),
        ("timm:vit_base_patch32_224", Some(88_224_232)),
        ("timm:vit_large_patch16_224", Some(304_326_632)),
        ("timm:vit_huge_patch14_224", Some(632_045_800)),
        ("timm:vit_giant_patch14_224", Some(1_012_611_432)),
        ("timm:vit_gigantic_patch14_224", Some(1_844_440_680)),
        ("timm:VisionTransformer", Some(86_567_656)),
        (
            "eigen_analyzer/networks/deit.py:DeiT_tiny",
            Some(21_376_996),
        ),
        (
            "eigen_analyzer/networks/deit.py:DeiT_tiny_imagenet",
            Some(5_436_296),
        ),
        ("timm:deit3_small_patch16_224", None),
        ("timm:vit_base_patch16_clip_224", None),
        ("timm:vit_medium_patch16_224", None),
    ] {
        let found = parameters(source, json!({}));
        assert_eq!(found.expect("it is understood"), expected, "{source}");
    }
}

/// Breaks when an argument is read another way than timm reads it, or one that makes another network is passed over.
#[test]
fn arguments_of_vision_transformers_are_read_as_timm_does() {
    let parameters = |arguments| parameters("timm:VisionTransformer", arguments);
    let understood = json!({
        "img_size": [8, 12], "patch_size": [4, 4], "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 3,
        "global_pool": "token", "strict_img_size": false, "dynamic_img_size": true, "weight_init": "skip",
        "class_token": true, "init_values": null,
    });
    // Patches, class token, seven positions; blocks; norm and head.
    let expected = (3 * 16 + 1) * 8 + 8 + 7 * 8 + 2 * (12 * 64 + 13 * 8) + 16 + 8 * 3 + 3;
    let mut remainder = understood.clone();
    remainder["img_size"] = json!([11, 13]);
    for understood in [understood, remainder] {
        let found = parameters(understood).expect("it is understood");
        assert_eq!(found, Some(expected));
    }

    for refused in [
        json!({ "patch_size": [4, 8] }),
        json!({ "global_pool": "avg" }),
        json!({ "num_classes": 0 }),
        json!({ "class_token": false }),
        json!({ "init_values": 1e-5 }),
        json!({ "patch_drop_rate": 0.1 }),
        json!({ "img_size": 23, "patch_size": 4, "dynamic_img_pad": true }),
    ] {
        assert!(parameters(refused.clone()).is_err(), "{refused}");
    }
}

/// Breaks when an argument is read another way than timm reads it.
#[test]
fn arguments_of_swin_transformers_are_read_as_timm_does() {
    let configuration = |arguments| swin("timm:swin_base_patch4_window12_384", arguments);

    let default = configuration(json!({})).expect("nothing is refused");
    assert_eq!(default.image_size, [384, 384]);
    let stage = &default.stages[3];
    assert_eq!((stage.d_model, stage.d_head), (1024, Some(32)));
    assert_eq!(stage.window_size, [12, 12]);

    let other = configuration(json!({
        "img_size": [64, 96], "embed_dim": 20, "depths": [1, 3], "num_heads": [3, 4], "window_size": [5, 6],
        "mlp_ratio": [2.0, 3.5], "strict_img_size": false, "global_pool": "avg", "head_dim": null,
    }));
    let other = other.expect("nothing is refused");
    assert_eq!(other.image_size, [64, 96]);
    let stage = &other.stages[1];
    assert_eq!((stage.d_model, stage.n_layers, stage.n_heads), (40, 3, 4));
    assert_eq!((stage.window_size, stage.mlp_ratio), ([5, 6], 3.5));
    assert_eq!(other.stages[0].d_head, Some(6));

    let sizes = json!({ "window_size": [7, 7, [14, 13], 7], "head_dim": 16 });
    let sizes = configuration(sizes).expect("nothing is refused").stages;
    assert_eq!(
        (sizes[2].window_size, sizes[3].window_size),
        ([14, 13], [7, 7])
    );
    assert_eq!(sizes[2].d_head, Some(16));

    for refused in [
        json!({ "window_size": [7, 7, 7] }),
        json!({ "depths": [2, 2] }),
        json!({ "num_classes": 0 }),
        json!({ "global_pool": "max" }),
        json!({ "ape": true }),
        json!({ "proj_drop_rate": 0.1 }),
    ] {
        assert!(configuration(refused.clone()).is_none(), "{refused}");
    }
}

/// Breaks when a name has the depths or windows of another, or keeps the name of its weights.
#[test]
fn names_of_swin_transformers_are_those_of_timm() {
    let of = |source: &str| {
        let config = swin(source, json!({}))?;
        let depths: Vec<usize> = config.stages.iter().map(|it| it.n_layers).collect();
        let windows: Vec<usize> = config.stages.iter().map(|it| it.window_size[0]).collect();
        Some((config.stages[0].d_model, depths, windows))
    };

    let tiny = of("timm:swin_tiny_patch4_window7_224.ms_in1k");
    assert_eq!(tiny, Some((96, vec![2, 2, 6, 2], vec![7; 4])));
    let searched = of("timm:swin_s3_base_224.ms_in1k");
    assert_eq!(searched, Some((96, vec![2, 2, 30, 2], vec![7, 7, 14, 7])));
    assert_eq!(of("timm:swin_s3_large_224"), None);
    assert_eq!(of("timm:swinv2_tiny_window8_256"), None);
}

/// Breaks when blocks of a signature are passed over, a class is built without blocks, or another norm is taken for the only one.
#[test]
fn classes_take_their_blocks_as_arguments_or_in_brackets() {
    let parameters = |source: &str, arguments| parameters(source, arguments).ok().flatten();
    let none = json!({});

    let thin = "cifar10/models/resnet_cifar.py:ResNet";
    let expected = Some(269_722);
    let blocks = json!({ "num_blocks": [3, 3, 3] });
    assert_eq!(parameters(thin, blocks), expected);
    let in_brackets = format!("{thin}(BasicBlock, [3, 3, 3])");
    assert_eq!(parameters(&in_brackets, none.clone()), expected);
    assert_eq!(parameters(thin, none.clone()), None);
    let proper = "eigen_analyzer/networks/resnet_proper.py:ResNet";
    let normed = json!({ "depth": 20, "which_norm": "BN" });
    assert_eq!(parameters(proper, normed), expected);
    assert_eq!(parameters(proper, json!({ "which_norm": "GN" })), None);

    let bottlenecks = "cifar100/models/resnet.py:ResNet(Bottleneck, [3, 4, 6, 3])";
    let expected = Some(23_705_252);
    assert_eq!(parameters(bottlenecks, none.clone()), expected);
    let class = json!({ "block": "BasicBlock", "layers": [2, 2, 2, 2], "act_layer": "nn.ReLU" });
    let expected = Some(11_689_512);
    assert_eq!(parameters("timm:ResNet", class), expected);
    for refused in [none, json!({ "layers": [1], "cardinality": 32 })] {
        assert_eq!(
            parameters("timm:ResNet", refused.clone()),
            None,
            "{refused}"
        );
    }
}

/// Breaks when the class of Wide ResNet is not found under one of its names, or is built without its depth.
///
/// No fixture is of the class. It is built as the network of the function `wrn_28_10`, whose fixture has names and shapes that a
/// class of another structure would not have.
#[test]
fn the_class_of_wide_resnet_has_two_names() {
    let parameters = |source: &str, arguments| parameters(source, arguments).ok().flatten();
    let file = "cifar100/models/wide_resnet.py";
    let function = parameters(&format!("{file}:wrn_28_10"), json!({}));
    assert_eq!(function, Some(36_536_884));
    for class in ["WideResNet", "Wide_ResNet"] {
        let class = format!("{file}:{class}");
        let sizes = json!({ "depth": 28, "widen_factor": 10 });
        assert_eq!(parameters(&class, sizes), function, "{class}");
        let in_brackets = format!("{class}(28, widen_factor=10)");
        assert_eq!(parameters(&in_brackets, json!({})), function, "{class}");
        assert_eq!(parameters(&class, json!({})), None, "{class}");
        assert_eq!(parameters(&class, json!({ "depth": 29 })), None, "{class}");
    }
}

/// Breaks when a name of the authors' list is another function's, or a function that the network does not have is taken.
#[test]
fn functions_have_the_names_of_the_authors() {
    let activation = |name: &str| {
        let source = "eigen_analyzer/networks/lenet.py:LeNet5";
        match config(&construction(source, json!({ "act_fn": name }))).ok()? {
            Some(Config::LeNet(config)) => Some(config.activation),
            _ => None,
        }
    };
    for (name, expected) in [("tanh", Activation::Tanh), ("relu", Activation::Relu)] {
        assert_eq!(activation(name), Some(expected), "{name}");
    }
    for refused in ["sigmoid", "glu"] {
        assert_eq!(activation(refused), None);
    }
}
