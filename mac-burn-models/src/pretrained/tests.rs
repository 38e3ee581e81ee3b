use std::collections::BTreeSet;

use super::*;
use crate::testing::{TestBackend, num_params, shapes};

/// The bytes for a tensor in the header of a file of safetensors: its name, type, shape and place, in letters.
const ENTRY: usize = 130;

/// The size of a network's file of single precision, in megabytes.
fn megabytes<M: Module<TestBackend>>(network: &M) -> f64 {
    let tensors = shapes(network);
    let elements = tensors.iter().map(|(_, shape)| shape.num_elements());
    let bytes = 4 * elements.sum::<usize>() + ENTRY * tensors.len();
    bytes as f64 / 1e6
}

/// Asserts that the entries of a table agree with themselves, and that no two have the same name.
fn assert_consistent<C>(checkpoints: &[Checkpoint<C>], num_classes: fn(&C) -> usize) {
    let names: BTreeSet<_> = checkpoints.iter().map(|known| known.name).collect();
    assert_eq!(names.len(), checkpoints.len());
    for checkpoint in checkpoints {
        let name = checkpoint.name;
        let classes = num_classes(&(checkpoint.config)());
        assert_eq!(classes, checkpoint.num_classes, "{name}");
        assert!(
            [APACHE, BSD, MIT].contains(&checkpoint.license),
            "{name}: {}",
            checkpoint.license
        );
        let Some(sha256) = checkpoint.sha256 else {
            continue;
        };
        let digits = sha256
            .chars()
            .filter(|it| matches!(it, '0'..='9' | 'a'..='f'));
        assert_eq!(digits.count(), sha256.len(), "{name}");
        match checkpoint.file.strip_suffix(".pth") {
            Some(file) => assert_eq!(file.rsplit('-').next(), Some(sha256), "{name}"),
            None => assert_eq!(sha256.len(), 64, "{name}"),
        }
    }
}

/// Breaks when a hash has a letter too few, or is not that of the file's name, or a configuration has another head.
#[test]
fn entries_agree_with_themselves() {
    assert_consistent(RESNET, |config| config.num_classes);
    assert_consistent(DENSENET, |config| config.num_classes);
    assert_consistent(VISION_TRANSFORMER, |config| config.num_classes);
    assert_consistent(SWIN, |config| config.num_classes);
}

/// The `num_params` of torchvision's weights.
///
/// Breaks when an entry has the configuration of another network.
#[test]
fn networks_have_the_published_numbers_of_parameters() {
    let device = Default::default();
    for (start, expected) in [
        ("ResNet18", 11_689_512),
        ("ResNet34", 21_797_672),
        ("ResNet50", 25_557_032),
        ("ResNet101", 44_549_160),
        ("ResNet152", 60_192_808),
        ("Wide_ResNet50_2", 68_883_240),
    ] {
        let start = format!("{start}_Weights.");
        let of_size = |known: &&Checkpoint<_>| known.name.starts_with(&start);
        let checkpoints: Vec<_> = RESNET.iter().filter(of_size).collect();
        assert!(!checkpoints.is_empty(), "{start}");
        for checkpoint in checkpoints {
            let network: ResNet<TestBackend> = (checkpoint.config)().init(&device);
            assert_eq!(num_params(&network), expected, "{}", checkpoint.name);
        }
    }
    for (layers, expected) in [
        (121, 7_978_856),
        (169, 14_149_480),
        (201, 20_013_928),
        (161, 28_681_000),
    ] {
        let name = format!("DenseNet{layers}_Weights.IMAGENET1K_V1");
        let checkpoint = Checkpoint::named(DENSENET, &name).expect("it is listed");
        let network: DenseNet<TestBackend> = (checkpoint.config)().init(&device);
        assert_eq!(num_params(&network), expected, "{name}");
    }
}

/// The sizes that Hugging Face shows of timm's files, in megabytes to three digits. Running statistics are in them.
///
/// Breaks when an entry has the configuration of another network, or tensors are missing.
#[test]
fn networks_have_the_sizes_of_published_files() {
    let device = Default::default();
    let assert_size = |name: &str, found: f64, published: f64| {
        let digit = if published < 100.0 { 0.1 } else { 1.0 };
        let difference = (found - published).abs();
        assert!(
            difference <= digit / 2.0,
            "{name}: {found}, not {published}"
        );
    };
    for (name, published) in [
        ("resnet18.a1_in1k", 46.8),
        ("resnet50.a1_in1k", 102.0),
        ("resnet101.a1h_in1k", 179.0),
    ] {
        let checkpoint = Checkpoint::named(RESNET, name).expect("it is listed");
        let network: ResNet<TestBackend> = (checkpoint.config)().init(&device);
        assert_size(name, megabytes(&network), published);
    }
    for (name, published) in [
        ("densenet121.ra_in1k", 32.3),
        ("densenet201.tv_in1k", 81.1),
        ("densenet161.tv_in1k", 116.0),
    ] {
        let checkpoint = Checkpoint::named(DENSENET, name).expect("it is listed");
        let network: DenseNet<TestBackend> = (checkpoint.config)().init(&device);
        assert_size(name, megabytes(&network), published);
    }
    let name = "deit_tiny_patch16_224.fb_in1k";
    let checkpoint = Checkpoint::named(VISION_TRANSFORMER, name).expect("it is listed");
    let network: VisionTransformer<TestBackend> = (checkpoint.config)().init(&device);
    assert_size(name, megabytes(&network), 22.9);
}
