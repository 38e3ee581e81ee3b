//! From a network to a file and into another network.

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::Autodiff;
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use mac_burn_models::export::{ExportError, save};
use mac_burn_models::import::load;
use mac_burn_models::pytorch::Name;
use mac_burn_models::{
    DenseNetConfig, GptConfig, LeNetConfig, ResNetConfig, SwinConfig, VisionTransformerConfig,
    WideResNetConfig,
};
use mac_burn_models::{densenet, gpt, lenet, resnet, swin, vision_transformer, wide_resnet};
use tempfile::{TempDir, tempdir};

use crate::files;
use crate::networks::{self, Single, images, tokens};
use crate::parameters::{filled, parameters};

fn folder() -> TempDir {
    tempdir().expect("a temporary folder can be made")
}

/// Asserts that another network of the same kind has the same values and gives the same after the trip, and has its own ids.
fn assert_round_trip<M: Module<Single>>(
    network: fn() -> M,
    name: Name,
    logits: fn(&M) -> TensorData,
) {
    let folder = folder();
    let path = folder.path().join("weights.safetensors");
    let (source, target) = (filled(network(), 1), filled(network(), 2));
    let (expected, before) = (parameters(&source), parameters(&target));
    let expected_logits = logits(&source);
    assert!(expected_logits.iter::<f32>().all(f32::is_finite));
    assert_ne!(logits(&target), expected_logits);
    save(&source, &path, name).expect("the folder can be written to");

    let loaded = load(target, &path, name).expect("the file is of this network");

    let after = parameters(&loaded);
    assert_eq!(after.len(), expected.len());
    for ((after, expected), before) in after.iter().zip(&expected).zip(&before) {
        assert_eq!(after.values, expected.values, "{}", after.path);
        assert_ne!(before.values, expected.values, "{}", after.path);
        assert_eq!(after.id, before.id, "{}", after.path);
    }
    assert_eq!(logits(&loaded), expected_logits);
    // One that was never initialized.
    let lazy = load(network(), &path, name).expect("the file is of this network");
    for (lazy, expected) in parameters(&lazy).iter().zip(&expected) {
        assert_eq!(lazy.values, expected.values, "{}", lazy.path);
    }
    assert_eq!(logits(&lazy), expected_logits);
    let left = folder.path().read_dir().expect("the folder is there");
    assert_eq!(left.count(), 1, "the unfinished file is left");
}

/// Images for the networks with convolutions, which take any number of rows and columns.
fn small_images() -> Tensor<Single, 4> {
    images([2, 3, 16, 12])
}

/// Breaks when a parameter is left out, or not laid out the same way in both directions.
#[test]
fn lenet_makes_the_trip() {
    assert_round_trip(networks::lenet, lenet::authors_name, |network| {
        network.forward(images([2, 1, 16, 16])).into_data()
    });
}

/// Breaks like the test of LeNet, or when queries, keys and values are not in one tensor.
#[test]
fn deit_makes_the_trip() {
    for name in [
        vision_transformer::timm_name,
        vision_transformer::authors_name,
    ] {
        assert_round_trip(networks::deit, name, |network| {
            network.forward(images([2, 3, 8, 8])).into_data()
        });
    }
}

/// Breaks like the test of DeiT.
#[test]
fn swin_makes_the_trip() {
    assert_round_trip(networks::swin, swin::timm_name, |network| {
        network.forward(images([2, 3, 16, 16])).into_data()
    });
}

/// Breaks like the test of DeiT, or when the table of the tokens and its copy make the trip as two.
#[test]
fn gpt_makes_the_trip() {
    assert_round_trip(networks::gpt, gpt::authors_name, |network| {
        network.forward(tokens()).into_data()
    });
}

/// Breaks like the test of LeNet, or when the running statistics of a norm stay behind.
#[test]
fn resnet_makes_the_trip() {
    let networks = [
        networks::resnet_of_basic_blocks,
        networks::resnet_of_bottlenecks,
    ];
    for network in networks {
        for name in [resnet::timm_name, resnet::authors_name] {
            assert_round_trip(network, name, |network| {
                network.forward(small_images()).into_data()
            });
        }
    }
}

/// Breaks like the test of ResNet.
#[test]
fn wide_resnet_makes_the_trip() {
    assert_round_trip(
        networks::wide_resnet,
        wide_resnet::authors_name,
        |network| network.forward(small_images()).into_data(),
    );
}

/// Breaks like the test of ResNet.
#[test]
fn densenet_makes_the_trip() {
    let (small, large) = (networks::densenet_for_small_images, networks::densenet);
    assert_round_trip(small, densenet::authors_name, |network| {
        network.forward(small_images()).into_data()
    });
    assert_round_trip(large, densenet::timm_name, |network| {
        network.forward(images([2, 3, 32, 40])).into_data()
    });
}

/// Breaks when what is loaded gets no gradient, or running statistics do.
#[test]
fn what_learns_is_the_same_after_the_trip() {
    let folder = folder();
    let path = folder.path().join("weights.safetensors");
    let network = networks::resnet_of_basic_blocks::<Autodiff<Single>>();
    let lazy = networks::resnet_of_basic_blocks::<Autodiff<Single>>();
    let before = parameters(&network);
    save(&network, &path, resnet::timm_name).expect("the folder can be written to");
    let (learn, stay): (Vec<_>, Vec<_>) = before.iter().partition(|parameter| parameter.learns);
    assert!(learn.len() > stay.len() && !stay.is_empty());

    for network in [network, lazy] {
        let loaded = load(network, &path, resnet::timm_name).expect("the file is of this network");
        for (after, before) in parameters(&loaded).iter().zip(&before) {
            assert_eq!(after.learns, before.learns, "{}", after.path);
        }
    }
}

/// Asserts that the file of a network has the names and shapes that a fixture of the test `parity` has from PyTorch,
/// and these copies.
fn assert_like_pytorch(network: impl Module<Single>, name: Name, fixture: &str, copies: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(fixture);
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    let fixture: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let tensors = ["parameters", "float_buffers"].map(|kind| fixture[kind].as_array());
    let tensors = tensors.into_iter().flatten().flatten();
    let expected: BTreeMap<String, Vec<usize>> = tensors
        .map(|row| {
            let row = (row[0].clone(), row[1].clone());
            let name = serde_json::from_value(row.0).expect("the first column is the name");
            let shape = serde_json::from_value(row.1).expect("the second column is the shape");
            (name, shape)
        })
        .collect();

    let folder = folder();
    let path = folder.path().join("weights.safetensors");
    save(&network, &path, name).expect("the folder can be written to");
    let mut found: BTreeMap<String, Vec<usize>> = files::read(&path)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.shape))
        .collect();
    for copy in copies {
        assert!(found.remove(*copy).is_some(), "{copy} is not there");
    }
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
}

/// Breaks when a name or a shape is not PyTorch's, in a network of full size.
#[test]
fn files_have_the_names_and_shapes_of_pytorch() {
    let device = Default::default();

    let network = LeNetConfig::mac_lenet5().init(&device);
    assert_like_pytorch(network, lenet::authors_name, "lenet5_c10.json", &[]);
    let network = VisionTransformerConfig::deit_tiny_cifar(100).init(&device);
    let copies = ["patch_embed.proj.weight", "patch_embed.proj.bias"];
    assert_like_pytorch(
        network,
        vision_transformer::authors_name,
        "deit_cifar_c100.json",
        &copies,
    );
    let network = VisionTransformerConfig::deit_tiny().init(&device);
    assert_like_pytorch(
        network,
        vision_transformer::timm_name,
        "deit_tiny_224.json",
        &[],
    );
    let network = SwinConfig::tiny().init(&device);
    assert_like_pytorch(network, swin::timm_name, "swin_tiny_224.json", &[]);
    let config = GptConfig::new(65).with_context_size(32).with_d_model(64);
    let network = config.with_n_layers(3).with_n_heads(4).init(&device);
    let copies = ["lm_head.weight"];
    assert_like_pytorch(network, gpt::authors_name, "nanogpt_bias.json", &copies);
    let network = ResNetConfig::resnet20(10).init(&device);
    assert_like_pytorch(network, resnet::authors_name, "resnet20_c10.json", &[]);
    let network = ResNetConfig::resnet34_cifar(10).init(&device);
    assert_like_pytorch(network, resnet::authors_name, "resnet34_c10.json", &[]);
    let network = ResNetConfig::resnet50().init(&device);
    assert_like_pytorch(network, resnet::timm_name, "resnet50_in1k.json", &[]);
    let network = WideResNetConfig::wrn_28_10(10).init(&device);
    let name = wide_resnet::authors_name;
    assert_like_pytorch(network, name, "wrn_28_10_c10.json", &[]);
    let network = DenseNetConfig::densenet121_cifar(10).init(&device);
    let name = densenet::authors_name;
    assert_like_pytorch(network, name, "densenet121_c10.json", &[]);
}

/// Breaks when a linear weight is stored as Burn lays it out, or another weight is turned.
#[test]
fn values_are_laid_out_as_pytorch_does() {
    let folder = folder();
    let path = folder.path().join("weights.safetensors");
    let network = filled(networks::lenet::<Single>(), 1);
    save(&network, &path, lenet::authors_name).expect("the folder can be written to");

    let file = files::read(&path);
    let linear = network.fc1.weight.val();
    assert_eq!(linear.dims(), [3, 6]);
    assert_eq!(file["L1.weight"].shape, [6, 3]);
    let [out, into] = [4, 1];
    let here: f32 = linear.slice([into..into + 1, out..out + 1]).into_scalar();
    assert_eq!(file["L1.weight"].values()[out * 3 + into], here);
    let convolution: Tensor<Single, 4> = network.conv2.weight.val();
    let values: Vec<f32> = convolution.into_data().iter().collect();
    assert_eq!(file["conv2.weight"].values(), values);
}

/// Asserts that these tensors of the file of a network, and no others, are there a second time, under these names.
fn assert_listed_twice<M: Module<Single>>(network: M, name: Name, tied: &[(&str, &str)]) {
    let folder = folder();
    let path = folder.path().join("weights.safetensors");
    let network = filled(network, 1);
    save(&network, &path, name).expect("the folder can be written to");

    let file = files::read(&path);
    for (original, copy) in tied {
        assert!(file[*original] == file[*copy], "{copy}");
    }
    assert_eq!(file.len(), parameters(&network).len() + tied.len());
}

/// Breaks when a network with tied tensors is stored with one name only, which PyTorch's `load_state_dict` refuses, or timm's
/// patch embedding, which is not tied, with two.
#[test]
fn a_tied_tensor_is_listed_twice() {
    let tied = [("transformer.wte.weight", "lm_head.weight")];
    assert_listed_twice(networks::gpt(), gpt::authors_name, &tied);
    let tied = [
        ("deit.patch_embed.proj.weight", "patch_embed.proj.weight"),
        ("deit.patch_embed.proj.bias", "patch_embed.proj.bias"),
    ];
    assert_listed_twice(networks::deit(), vision_transformer::authors_name, &tied);
    assert_listed_twice(networks::deit(), vision_transformer::timm_name, &[]);
}

/// A second name of the file goes on to be the old one. Breaks when the old file is written over, of which a failure would
/// leave nothing.
#[test]
fn a_file_is_replaced_by_a_whole_one() {
    let folder = folder();
    let (path, second) = (
        folder.path().join("weights.safetensors"),
        folder.path().join("second"),
    );
    let [old, new] = [1, 2].map(|seed| filled(networks::lenet::<Single>(), seed));
    save(&old, &path, lenet::authors_name).expect("the folder can be written to");
    std::fs::hard_link(&path, &second).expect("a file may have two names");
    let before = files::read(&path);

    save(&new, &path, lenet::authors_name).expect("the folder can be written to");
    assert!(files::read(&second) == before);
    assert!(files::read(&path) != before);
}

/// Breaks when a file is replaced by half of another, or an error leaves a file behind.
#[test]
fn what_cannot_be_stored_replaces_nothing() {
    let folder = folder();
    let path = folder.path().join("weights.safetensors");
    let network = networks::lenet::<Single>();
    save(&network, &path, lenet::authors_name).expect("the folder can be written to");
    let before = files::read(&path);

    let error = save(&network, &path, |_| "weight".to_owned());
    assert!(
        matches!(&error, Err(ExportError::SameName { name }) if name == "weight"),
        "{error:?}"
    );
    assert_eq!(files::read(&path), before);
    let missing = folder.path().join("none").join("weights.safetensors");
    let error = save(&network, &missing, lenet::authors_name);
    let error = error.expect_err("there is no such folder");
    assert!(matches!(error, ExportError::Write { .. }), "{error}");
    assert!(error.to_string().contains("none"), "{error}");

    // A folder in the place of the file: all is written, and cannot be renamed.
    let taken = folder.path().join("taken");
    std::fs::create_dir_all(taken.join("inside")).expect("the folder can be written to");
    let error = save(&network, &taken, lenet::authors_name);
    assert!(matches!(error, Err(ExportError::Write { .. })), "{error:?}");
    let left = folder.path().read_dir().expect("the folder is there");
    assert_eq!(left.count(), 2, "the unfinished file is left");
}
