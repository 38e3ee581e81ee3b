//! Files with other tensors than the network's, and files that are none.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::DType;
use mac_burn_models::export::save;
use mac_burn_models::import::{ImportError, Mismatch, Misshaped, Mistyped, Untied, load};
use mac_burn_models::pytorch::Name;
use mac_burn_models::{densenet, gpt, lenet, resnet, swin, vision_transformer, wide_resnet};
use safetensors::Dtype;
use tempfile::{TempDir, tempdir};

use crate::files::{self, Stored, Tensors};
use crate::networks::{self, Single};
use crate::parameters::{filled, parameters};

/// A folder with the weights of a network, after a change.
fn changed<M: Module<Single>>(
    network: &M,
    name: Name,
    change: impl FnOnce(&mut Tensors),
) -> (TempDir, PathBuf) {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("weights.safetensors");
    save(network, &path, name).expect("the folder can be written to");
    let mut tensors = files::read(&path);
    change(&mut tensors);
    files::write(&path, &tensors);

    (folder, path)
}

/// The mismatch of a file, once it is certain that nothing of it was taken.
fn mismatch<M: Module<Single>>(network: &M, path: &Path, name: Name) -> Mismatch {
    let before = parameters(network);
    let error = load(network.clone(), path, name).err();
    assert_eq!(parameters(network), before);
    match error {
        Some(ImportError::Mismatch { mismatch, .. }) => *mismatch,
        other => panic!("the tensors are wrong, and not {other:?}"),
    }
}

/// Takes the tensor of a name out of a file.
fn taken(tensors: &mut Tensors, name: &str) -> Stored {
    let tensor = tensors.remove(name);
    tensor.unwrap_or_else(|| panic!("the file has `{name}`"))
}

/// Asserts that a file with tensors of other names and with another shape is refused with all of them.
fn assert_refused<M: Module<Single>>(network: M, name: Name, renamed: [&str; 2], turned: &str) {
    let network = filled(network, 1);
    let mut shape = Vec::new();
    let (_folder, path) = changed(&network, name, |tensors| {
        for name in renamed {
            let tensor = taken(tensors, name);
            tensors.insert(format!("other.{name}"), tensor);
        }
        let tensor = tensors.get_mut(turned).expect("the file has it");
        shape = tensor.shape.clone();
        tensor.shape.reverse();
    });
    // With other values than the file's.
    let network = filled(network, 2);

    let found = mismatch(&network, &path, name);
    let mut missing = renamed.map(str::to_owned);
    missing.sort();
    let mut reversed = shape.clone();
    reversed.reverse();
    assert_eq!(
        found,
        Mismatch {
            unused: missing.iter().map(|name| format!("other.{name}")).collect(),
            missing: missing.into(),
            misshaped: vec![Misshaped {
                name: turned.to_owned(),
                expected: shape,
                found: reversed,
            }],
            ..Default::default()
        }
    );
    let error = load(network, &path, name)
        .err()
        .map(|error| error.to_string());
    let error = error.unwrap_or_default();
    assert!(
        error.contains("2 missing, 2 unused, 1 of another shape"),
        "{error}"
    );
    for name in [renamed[0], renamed[1], turned, "weights.safetensors"] {
        assert!(error.contains(name), "{error}");
    }
}

/// Breaks when an error ends the search for others, something is loaded in spite of it, or a family is treated
/// otherwise.
#[test]
fn all_that_is_wrong_is_listed() {
    let renamed = ["conv1.weight", "L2.bias"];
    assert_refused(networks::lenet(), lenet::authors_name, renamed, "L1.weight");
    let renamed = ["pos_embed", "blocks.1.attn.qkv.weight"];
    assert_refused(
        networks::deit(),
        vision_transformer::timm_name,
        renamed,
        "head.weight",
    );
    let table = "layers.0.blocks.1.attn.relative_position_bias_table";
    let renamed = [table, "layers.1.downsample.norm.weight"];
    assert_refused(networks::swin(), swin::timm_name, renamed, "head.fc.weight");
    let renamed = ["transformer.wpe.weight", "transformer.ln_f.bias"];
    let turned = "transformer.h.1.attn.c_attn.weight";
    assert_refused(networks::gpt(), gpt::authors_name, renamed, turned);
    let (network, name) = (networks::resnet_of_basic_blocks(), resnet::authors_name);
    let renamed = ["bn1.running_var", "layer2.0.shortcut.0.weight"];
    assert_refused(network, name, renamed, "linear.weight");
    let (network, name) = (networks::resnet_of_bottlenecks(), resnet::timm_name);
    let renamed = ["layer1.1.bn3.weight", "layer2.0.downsample.1.running_mean"];
    assert_refused(network, name, renamed, "layer2.0.conv2.weight");
    let (network, name) = (networks::wide_resnet(), wide_resnet::authors_name);
    let renamed = ["bn1.running_mean", "block2.layer.0.convShortcut.weight"];
    assert_refused(network, name, renamed, "fc.weight");
    let (network, name) = (networks::densenet(), densenet::timm_name);
    let renamed = [
        "features.norm0.bias",
        "features.transition1.norm.running_var",
    ];
    assert_refused(network, name, renamed, "classifier.weight");
    let (network, name) = (
        networks::densenet_for_small_images(),
        densenet::authors_name,
    );
    let renamed = ["conv1.weight", "dense2.2.bn1.bias"];
    assert_refused(network, name, renamed, "trans1.conv.weight");
}

/// Breaks when the number of batches that a norm of PyTorch has seen is missed, or taken for a weight.
#[test]
fn numbers_of_batches_are_passed_over() {
    let network = filled(networks::resnet_of_basic_blocks::<Single>(), 1);
    let (_folder, path) = changed(&network, resnet::timm_name, |tensors| {
        let norms: Vec<String> = tensors
            .keys()
            .filter_map(|name| name.strip_suffix("running_mean").map(str::to_owned))
            .collect();
        assert_eq!(norms.len(), 1 + 3 * 2 + 1);
        for norm in norms {
            tensors.insert(format!("{norm}num_batches_tracked"), Stored::count(7));
        }
    });

    let loaded = load(filled(network.clone(), 2), &path, resnet::timm_name);
    let loaded = loaded.expect("the file is of this network");
    assert_eq!(parameters(&loaded), parameters(&network));
}

/// Asserts that a file whose copy of a tensor has other values is refused.
fn assert_tied<M: Module<Single>>(network: M, name: Name, original: &str, copy: &str) {
    let network = filled(network, 1);
    let (_folder, path) = changed(&network, name, |tensors| {
        let copy = tensors.get_mut(copy).expect("it is exported");
        copy.bytes[5] ^= 1;
    });

    let expected = Mismatch {
        untied: vec![Untied {
            original: original.to_owned(),
            copy: copy.to_owned(),
        }],
        ..Default::default()
    };
    assert_eq!(mismatch(&network, &path, name), expected);
}

/// Breaks when values of a tensor and its copy that learned apart are taken for tied ones, or the file's order decides which
/// of them is.
#[test]
fn tensors_that_should_be_tied_and_are_not_are_an_error() {
    let (original, copy) = ("transformer.wte.weight", "lm_head.weight");
    assert_tied(networks::gpt(), gpt::authors_name, original, copy);
    for tensor in ["weight", "bias"] {
        let copy = format!("patch_embed.proj.{tensor}");
        let original = format!("deit.{copy}");
        assert_tied(
            networks::deit(),
            vision_transformer::authors_name,
            &original,
            &copy,
        );
    }
}

/// Breaks when names of the authors' DeiT are passed over where timm's are asked for.
#[test]
fn what_only_the_authors_list_twice_is_unused_under_other_names() {
    let network = filled(networks::deit::<Single>(), 1);
    let second = "deit.patch_embed.proj.bias";
    let (_folder, path) = changed(&network, vision_transformer::timm_name, |tensors| {
        let bias = tensors["patch_embed.proj.bias"].clone();
        tensors.insert(second.to_owned(), bias);
    });

    let found = mismatch(&network, &path, vision_transformer::timm_name);
    assert_eq!(found.unused, [second]);
    assert!(
        found.missing.is_empty() && found.untied.is_empty(),
        "{found}"
    );
}

/// Breaks when quantized weights are taken for what they stand for.
#[test]
fn values_that_are_no_floating_point_numbers_are_an_error() {
    let network = networks::lenet::<Single>();
    let (_folder, path) = changed(&network, lenet::authors_name, |tensors| {
        let bias = tensors.get_mut("L3.bias").expect("it is exported");
        bias.dtype = Dtype::I32;
    });

    let expected = Mismatch {
        mistyped: vec![Mistyped {
            name: "L3.bias".to_owned(),
            found: DType::I32,
        }],
        ..Default::default()
    };
    assert_eq!(mismatch(&network, &path, lenet::authors_name), expected);
}

/// The running statistics of a norm are shared by its clones, and would not come back. Breaks when the count of batches
/// is a weight, or statistics are set before everything is known to be right.
#[test]
fn running_statistics_are_loaded_and_left_alone() {
    let name: Name = |path| path.replace("gamma", "weight").replace("beta", "bias");
    let norm: BatchNorm<Single> = BatchNormConfig::new(2).init(&Default::default());
    let (_folder, path) = changed(&filled(norm.clone(), 1), name, |tensors| {
        tensors.insert("num_batches_tracked".to_owned(), Stored::count(7));
        let mean = Stored::single(&[2], &[0.25, 0.75]);
        tensors.insert("running_mean".to_owned(), mean);
    });
    let norm: BatchNorm<Single> = BatchNormConfig::new(2).init(&Default::default());
    let loaded = load(norm, &path, name).expect("the file is of this norm");
    let mean: Vec<f32> = loaded.running_mean.value().into_data().iter().collect();
    assert_eq!(mean, [0.25, 0.75]);

    let (_folder, path) = changed(&loaded, name, |tensors| {
        let mean = Stored::single(&[2], &[5.0, 6.0]);
        tensors.insert("running_mean".to_owned(), mean);
        taken(tensors, "running_var");
    });
    let found = mismatch(&loaded, &path, name);
    assert_eq!(found.missing, ["running_var"]);
    assert!(found.unused.is_empty(), "{found}");
}

/// Breaks when two parameters take the values of one tensor.
#[test]
fn two_parameters_of_the_same_name_are_an_error() {
    let network = filled(networks::lenet::<Single>(), 1);
    let (_folder, path) = changed(&network, lenet::authors_name, |_| ());
    let before = parameters(&network);
    let name: Name = |path| lenet::authors_name(path).replace("conv2", "conv1");

    let error = load(network.clone(), &path, name);
    assert!(
        matches!(&error, Err(ImportError::SameName { name }) if name.starts_with("conv1.")),
        "{error:?}"
    );
    assert_eq!(parameters(&network), before);
}

/// Breaks when a file that cannot be read is another error, or a panic.
#[test]
fn what_is_no_file_of_weights_is_an_error() {
    let folder = tempdir().expect("a temporary folder can be made");
    let load = |name: &str| {
        let network = networks::lenet::<Single>();
        let error = load(network, folder.path().join(name), lenet::authors_name);
        error.expect_err("there are no weights")
    };
    for name in [
        "text.safetensors",
        "empty.safetensors",
        "text.pth",
        "text.onnx",
    ] {
        let text = if name.starts_with("text") {
            "no weights"
        } else {
            ""
        };
        fs::write(folder.path().join(name), text).expect("the folder can be written to");
    }
    let (_other, whole) = changed(&networks::lenet(), lenet::authors_name, |_| ());
    let mut bytes = fs::read(whole).expect("it was written");
    bytes.pop();
    let cut = folder.path().join("cut.safetensors");
    fs::write(cut, bytes).expect("the folder can be written to");

    for name in [
        "text.safetensors",
        "empty.safetensors",
        "cut.safetensors",
        "text.pth",
        "none.safetensors",
    ] {
        let error = load(name);
        assert!(matches!(error, ImportError::Read { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = load("text.onnx");
    assert!(
        matches!(error, ImportError::UnknownFormat { .. }),
        "{error}"
    );
}
